package dmarc

import (
	"net/mail"
	"strings"
	"testing"

	"signpost/internal/domain"
)

type authorCase struct {
	from, domains string
	cause         Cause
}

func authorCases() []authorCase {
	return []authorCase{
		{"ann@example.org", "example.org", ""},
		{" Ann <ann@Example.ORG>", "example.org", ""},
		{"\"Ann, of <x@evil.example>\" <ann@example.org>", "example.org", ""},
		{"Ann (a comment with <x@evil.example>) <ann@example.org>", "example.org", ""},
		{"Ann =?utf-8?q?M=C3=BCller?= <ann@example.org>", "example.org", ""},
		{"Ann M. Miller <ann@example.org>", "example.org", ""},
		{"[list] Ann <ann@example.org>", "example.org", ""},
		{"<ann@example.org>", "example.org", ""},
		{"ann@example.org (Ann)", "example.org", ""},
		{"\"ann with space\"@example.org", "example.org", ""},
		{"\"x <a@b>\"@example.org", "example.org", ""},         // OpenDMARC #243
		{`"\"Ann, Inc.\"" <a@example.org>`, "example.org", ""}, // OpenDMARC: the escaped quote
		{`"Ann \\" <a@example.org>`, "example.org", ""},
		{"Ann\r\n\t<ann@example.org>", "example.org", ""},
		{"Ann\n <ann@example.org>", "example.org", ""},
		{"ann@bücher.example", "xn--bcher-kva.example", ""},
		{"Gr\xfc\xdfe <ann@example.org>", "example.org", ""},
		{"root@localhost", "localhost", ""},
		{"ann@example.org <ann@example.org>", "example.org", ""},
		{"ann@example.org, bob@example.org", "example.org", ""},
		{"ann@example.org, Bob <bob@example.net>", "example.org example.net", ""},
		{"Friends: ann@example.org, bob@example.net;", "example.org example.net", ""},

		// RFC 7103 section 7: a display name outside the grammar, and one address.
		{"Acme, Inc. <news@example.org>", "example.org", ""},
		{"Acme, Inc., Berlin <news@example.org> ", "example.org", ""},
		{"Miller, Ann <ann@example.org>", "example.org", ""},
		{"Acme: News <news@example.org>", "example.org", ""},
		{"Acme; News <news@example.org>", "example.org", ""},
		{"(Acme <news@example.org>", "example.org", ""},
		{"Acme) <news@example.org>", "example.org", ""},
		{"Acme, Inc. (Berlin) <news@example.org>", "example.org", ""},
		{"Acme \\ News <news@example.org>", "example.org", ""},
		{"Acme \\\"News\\\" <news@example.org>", "example.org", ""},
		{"\"Acme, Inc.\", Berlin <news@example.org>", "example.org", ""},
		{"Acme, Inc. <ne..ws@example.org>", "example.org", ""},
		{"Acme, =?utf-8?q?M=C3=BCller?= GmbH <news@example.org>", "example.org", ""},
		{"=?windows-1252?q?M=FCller?=, Inc. <news@example.org>", "example.org", ""},
		{"\x1b$B3t<02q<R\x1b(B <news@example.org>", "example.org", ""},     // ISO-2022-JP, with the byte <
		{"\"\x1b$B3t<02q<R\x1b(J\" <news@example.org>", "example.org", ""}, // quoted
		{"\x1b$B4k\\\x1b(I1\x1b(B, \x1b$(D0!\x1b(B Ltd. <news@example.org>", "example.org", ""},
		{"\x95\\\x8e\xa6 <news@example.org>", "example.org", ""},     // Shift_JIS, with a backslash
		{"\"\x8e\xa6\x95\\\" <news@example.org>", "example.org", ""}, // quoted
		{"\xa5\\\xaf\xe0 <news@example.org>", "example.org", ""},     // Big5

		// RFC 5322 section 4.4: empty list elements.
		{"ann@example.org,", "example.org", ""},
		{",ann@example.org", "example.org", ""},
		{" , ,Ann <ann@example.org>, (c), ", "example.org", ""},
		{"ann@example.org,, bob@example.net", "example.org example.net", ""},
		{"Friends:, ann@example.org,;", "example.org", ""},

		// Dots that RFC 5322 section 3.4.1 does not allow.
		{"abc..def@example.org", "example.org", ""},
		{"abc.@example.org", "example.org", ""},
		{"Ann <.abc@example.org>", "example.org", ""},

		// RFC 5322 section 3.4.1: comments next to the parts of an address.
		{"ann(comment)@example.org", "example.org", ""},
		{"ann@(c)example.org", "example.org", ""},
		{"ann@example.org(c)", "example.org", ""},
		{"<(x) ann (y (z)) @ (c) example.org (his host)>", "example.org", ""},
		{"Pete(A nice \\) chap) <pete(his account)@example.org(his host)>", "example.org", ""},

		{"a@a.example, b@b.example, c@c.example, d@d.example", "a.example b.example c.example d.example", ""},

		{"a@a.example, b@b.example, c@c.example, d@d.example, e@e.example", "", FromTooManyDomains},
		{"", "", FromWithoutAddress},
		{"Ann", "", FromNameWithoutAddress},
		{"undisclosed:;", "", FromWithoutAddress},
		{"user@example.net>", "", FromTextAfterAddress}, // OpenDMARC #174, #113, #342
		{"<user@example.net", "", FromAngleBracketUnclosed},
		{"Ann <ann@example.org> x", "", FromTextAfterAddress},
		{"Ann <ann@example.org> <bob@example.net>", "", FromTextAfterAddress},
		{"ann@example.org <bob@example.net>", "", FromTwoAddresses},

		// A display name outside the grammar with another @, or with more than one reading.
		{"Acme, Inc. <news@example.org>, <x@evil.example>", "", FromUnquotedComma},
		{"ann@evil.example, Acme: News <news@example.org>", "", FromGroupUnclosed},
		{"Acme; x@evil.example <news@example.org>", "", FromUnquotedSemicolon},
		{"Acme, \"x@evil.example\" <news@example.org>", "", FromUnquotedComma},
		{"Acme, (x@evil.example) <news@example.org>", "", FromUnquotedComma},
		{"Acme, Inc. <news@example.org> x", "", FromUnquotedComma},
		{"Acme, Inc. <news@example.org> (c)", "", FromUnquotedComma},
		{"Acme, Inc. <news@example.org>,", "", FromUnquotedComma},
		{"Acme, <Inc.> <news@example.org>", "", FromUnquotedComma},
		{"Acme, Inc. <news>", "", FromUnquotedComma},
		{"Acme, Inc. <>", "", FromUnquotedComma},
		{"Acme, Inc. <@relay.example:news@example.org>", "", FromUnquotedComma},
		{"Acme, \"Inc. <news@example.org>", "", FromUnquotedComma},
		{"Acme, =?utf-8?q?x=40evil.example?= <news@example.org>", "", FromUnquotedComma},
		{"=?utf-8?b?PGFubkBldmlsLmV4YW1wbGU+?=, <news@example.org>", "", FromUnquotedComma},
		{"Acme, =?utf-7?q?x+AEA-evil.example?= <news@example.org>", "", FromUnquotedComma},
		{"Acme, =?utf-8?b?eEBldmls*?= <news@example.org>", "", FromUnquotedComma}, // not base64
		{"Acme, =?utf-8?q?=3D=3Futf-8=3Fq=3Fx=40y=3F=3D?= <news@example.org>", "", FromUnquotedComma},
		{"\x1b$B<x@evil.example>\x1b(B <news@example.org>", "", FromControlCharacter},
		{"\x1b$B=?utf-8?q?x=40evil.example?=\x1b(B <news@example.org>", "", FromControlCharacter},
		{"\x1b$B4k <news@example.org>", "", FromControlCharacter}, // the bracket is the second byte of a character
		{"\x1b <news@example.org>", "", FromControlCharacter},
		{"Ann\x1b<news@example.org>", "", FromControlCharacter},
		{"\x1b[2J <news@example.org>", "", FromControlCharacter},
		{"\x1b$B4k\x1b(B news@example.org", "", FromControlCharacter},
		{"<news\x1b(B@example.org>", "", FromControlCharacter},
		{"\x81@evil.example <news@example.org>", "", FromTwoAddresses},
		{"Acme: News; Ann", "", FromNameWithoutAddress},
		{"Acme: ann@example.org", "", FromGroupUnclosed},
		{"Acme: Ann", "", FromGroupUnclosed},
		{"MAILER DAEMON <>", "", FromBracketsWithoutAddress},
		{",", "", FromWithoutAddress},
		{".@example.org", "", FromMalformedLocalPart},
		{"x@stranger.example(x).evil.example", "", FromTextAfterAddress},
		{"ann(x@evil.example)@example.org", "", FromCommentInAddress},
		{"ann(evil.example)@example.org", "", FromCommentInAddress},
		{"<(x@evil.example)ann@example.org>", "", FromCommentInAddress},
		{"ann@(=?utf-8?q?evil?=)example.org", "", FromCommentInAddress},
		{"<@relay.example:ann@example.org>", "", FromSourceRoute},
		{"<@relay.example,@b.example:ann@example.org>", "", FromSourceRoute},
		{"<>", "", FromBracketsWithoutAddress},
		{"ann@[192.0.2.1]", "", FromAddressLiteral},
		{"ann@", "", FromInvalidDomain},
		{"ann@.example", "", FromInvalidDomain},
		{"ann@example..org", "", FromInvalidDomain},
		{"ann@example.org.", "", FromInvalidDomain},
		{"ann@exam ple.org", "", FromTextAfterAddress},
		{"ann@example.org@example.net", "", FromTextAfterAddress},
		{"@example.org", "", FromMalformedLocalPart},
		{"a b@example.org", "", FromMalformedLocalPart},
		{"a(comment)b@example.org", "", FromMalformedLocalPart},
		{"\"ann\"x@example.org", "", FromMalformedLocalPart},
		{"ann@(evil.example)example.org", "", FromCommentInAddress},
		{"<ann@example.org(x@evil.example)>", "", FromCommentInAddress},
		{"=?utf-8?q?x=40evil.example?=@example.org", "", FromDeceptiveLocalPart},
		{"\"=?utf-8?q?x=40evil.example?=\"@example.org", "", FromDeceptiveLocalPart},
		{"bounce=?x@example.org", "example.org", ""},
		{"<\u202egro.live@example.org>", "", FromDeceptiveLocalPart},
		{"<a\u200cb@example.org>", "example.org", ""}, // some scripts need a joiner
		{"=?utf-8?q?x=40evil.example=00?= <ann@example.org>", "", FromNameHidesAddress},
		{"=?utf-8?q?x=40evil.example?= =?utf-8?q?=0A?= <ann@example.org>", "", FromNameHidesAddress},
		{"\"x=?big5?b?AA==?=\" <ann@example.org>", "", FromNameHidesAddress},
		{"=?utf-8?q?Ann=0A?= <ann@example.org>", "example.org", ""}, // from a script that uses echo
		{"=?x?y?= =?utf-8?q?Ann?= <ann@example.org>", "example.org", ""},
		{"\"ann <ann@example.org>", "", FromQuotedStringUnclosed},
		{strings.Repeat("(", 17) + strings.Repeat(")", 17) + "ann@example.org", "", FromCommentsTooDeep},
		{"Ann \\<x@evil.example> <ann@example.org>", "", FromUnquotedBackslash},
		{"ann@example.org\x00.evil.example", "", FromControlCharacter},
		{"ann@example.org\r\nbob@example.net", "", FromControlCharacter},
		{"ann@exa\x80mple.org", "", FromInvalidDomain},
		{"a: b: ann@example.org;;", "", FromUnquotedColon},
		{"=?utf-8?b?YW5uQGV4YW1wbGUub3Jn?=", "", FromNameWithoutAddress},
		{"Ann) x@evil.example <ann@example.org>", "", FromUnquotedParenthesis},
		{"Ann> <ann@example.org>", "", FromUnquotedAngleBracket},
		{"(Ann ann@example.org", "", FromCommentUnclosed},
	}
}

func TestReadAuthor(t *testing.T) {
	for _, c := range authorCases() {
		got := ReadAuthor([]string{c.from})
		if d := strings.Join(got.Domains, " "); d != c.domains || got.Cause != c.cause {
			t.Errorf("From:%s\ngot  %+v\nwant %q, %q", c.from, got, c.domains, c.cause)
		}
	}
}

// CVE-2019-16378, CVE-2021-34555: if there are several From fields, the first one is not the author.
func TestReadAuthorFields(t *testing.T) {
	if got := ReadAuthor(nil); got.Cause != FromMissing {
		t.Errorf("%+v", got)
	}
	if got := ReadAuthor([]string{"a@example.org", "b@example.org"}); got.Cause != FromSeveral || got.Detail != "2" || got.Domains != nil {
		t.Errorf("%+v", got)
	}
	if got := ReadAuthor([]string{"a@a.example, b@b.example, c@c.example, d@d.example, e@e.example"}); got.Detail != "5" {
		t.Errorf("%+v", got)
	}
}

// Each cause occurs in a case. FromHiddenField is not set here, but in package filter.
func TestEachAuthorCauseOccurs(t *testing.T) {
	seen := map[Cause]bool{FromMissing: true, FromSeveral: true, FromHiddenField: true}
	for _, c := range authorCases() {
		seen[c.cause] = true
	}
	for _, cause := range AuthorCauses() {
		if !seen[cause] {
			t.Errorf("%s occurs in no case", cause)
		}
		delete(seen, cause)
	}
	if delete(seen, ""); len(seen) > 0 {
		t.Errorf("AuthorCauses does not return %v", seen)
	}
}

// Every From field has either domains that are safe to look up or a cause. If net/mail, an independent parser, reads a single address, the
// domain of that address is among these domains.
func FuzzReadAuthor(f *testing.F) {
	f.Add("Ann (x) <ann@example.org>, \"b\" <c@d.example>")
	f.Add("g: a@b.example;")
	f.Add("Acme, Inc. <news@example.org>")
	f.Add("\x1b$B3t<02q<R\x1b(B <news@example.org>")
	f.Add("=?utf-8?q?M=C3=BCller?=; \\x <ann(c)@example.org>")
	f.Add(",ann(c)@(d)example.org,, (e)")
	f.Fuzz(func(t *testing.T, from string) {
		got := ReadAuthor([]string{from})
		if (got.Cause == "") == (len(got.Domains) == 0) {
			t.Fatalf("%+v", got)
		}
		for _, d := range got.Domains {
			if again, err := domain.Parse(d); err != nil || again != d {
				t.Fatalf("unsafe: %q", d)
			}
		}
		others, err := mail.ParseAddressList(from)
		if got.Cause != "" || err != nil || len(others) != 1 {
			return
		}
		address := others[0].Address
		other, err := domain.Parse(address[strings.LastIndexByte(address, '@')+1:])
		if err != nil || len(got.Domains) != 1 || got.Domains[0] != other {
			t.Fatalf("%q: %q, net/mail %q", from, got.Domains, address)
		}
	})
}
