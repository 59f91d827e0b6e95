package dmarc

import (
	"strings"
	"testing"

	"signpost/internal/dkim"
)

func TestReadAuthor(t *testing.T) {
	for _, c := range []struct{ from, domains, doubt string }{
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
		{"a@a.example, b@b.example, c@c.example, d@d.example", "a.example b.example c.example d.example", ""},

		{"a@a.example, b@b.example, c@c.example, d@d.example, e@e.example", "", "more than 4"},
		{"", "", "without an address"},
		{"Ann", "", "without an address"},
		{"undisclosed:;", "", "no address"},
		{"user@example.net>", "", "text follows"}, // OpenDMARC #174, #113, #342
		{"<user@example.net", "", "does not close"},
		{"Ann <ann@example.org> x", "", "text follows"},
		{"Ann <ann@example.org> <bob@example.net>", "", "text follows"},
		{"ann@example.org <bob@example.net>", "", "two addresses"},
		{"Miller, Ann <ann@example.org>", "", "without an address"},
		{"ann@example.org,", "", "without an address"},
		{"ann@example.org,, bob@example.org", "", "without an address"},
		{"<@relay.example:ann@example.org>", "", "source route"},
		{"<@relay.example,@b.example:ann@example.org>", "", "source route"},
		{"<>", "", "bracket"},
		{"ann@[192.0.2.1]", "", "literal"},
		{"ann@", "", "domain"},
		{"ann@.example", "", "domain"},
		{"ann@example..org", "", "domain"},
		{"ann@example.org.", "", "domain"},
		{"ann@exam ple.org", "", "text follows"},
		{"ann@example.org@example.net", "", "text follows"},
		{"@example.org", "", "local part"},
		{"a..b@example.org", "", "local part"},
		{"a b@example.org", "", "local part"},
		{"a(comment)b@example.org", "", "local part"},
		{"\"ann\"x@example.org", "", "local part"},
		{"ann@(evil.example)example.org", "", "comment"},
		{"<ann@example.org(x@evil.example)>", "", "comment"},
		{"<(x) ann@example.org>", "", "comment"},
		{"=?utf-8?q?x=40evil.example?=@example.org", "", "shown"},
		{"\"=?utf-8?q?x=40evil.example?=\"@example.org", "", "shown"},
		{"bounce=?x@example.org", "example.org", ""},
		{"<\u202egro.live@example.org>", "", "shown"},
		{"<a\u200cb@example.org>", "example.org", ""}, // a joiner belongs to some scripts
		{"=?utf-8?q?x=40evil.example=00?= <ann@example.org>", "", "hides"},
		{"=?utf-8?q?x=40evil.example?= =?utf-8?q?=0A?= <ann@example.org>", "", "hides"},
		{"\"x=?big5?b?AA==?=\" <ann@example.org>", "", "hides"},
		{"=?utf-8?q?Ann=0A?= <ann@example.org>", "example.org", ""}, // a script's echo
		{"=?x?y?= =?utf-8?q?Ann?= <ann@example.org>", "example.org", ""},
		{"\"ann <ann@example.org>", "", "quoted string"},
		{"(ann <ann@example.org>", "", "comment"},
		{strings.Repeat("(", 17) + strings.Repeat(")", 17) + "ann@example.org", "", "nest"},
		{"Ann \\<x@evil.example> <ann@example.org>", "", "backslash"},
		{"ann@example.org\x00.evil.example", "", "control"},
		{"ann@example.org\r\nbob@example.net", "", "control"},
		{"ann@exa\x80mple.org", "", "domain"},
		{"a: b: ann@example.org;;", "", "colon"},
		{"=?utf-8?b?YW5uQGV4YW1wbGUub3Jn?=", "", "without an address"},
	} {
		got := ReadAuthor([]string{c.from})
		if d := strings.Join(got.Domains, " "); d != c.domains || !strings.Contains(got.Doubt, c.doubt) || (c.doubt == "") != (got.Doubt == "") {
			t.Errorf("From:%s\ngot  %+v\nwant %q, doubt %q", c.from, got, c.domains, c.doubt)
		}
	}
}

// CVE-2019-16378, CVE-2021-34555: of several From fields the first one is not the author.
func TestReadAuthorFields(t *testing.T) {
	if got := ReadAuthor(nil); got.Doubt != "there is no From field" {
		t.Errorf("%+v", got)
	}
	if got := ReadAuthor([]string{"a@example.org", "b@example.org"}); got.Doubt != "there are 2 From fields" || got.Domains != nil {
		t.Errorf("%+v", got)
	}
}

// Whatever stands in From: an answer, either domains that are safe to look up or a doubt.
func FuzzReadAuthor(f *testing.F) {
	f.Add("Ann (x) <ann@example.org>, \"b\" <c@d.example>")
	f.Add("g: a@b.example;")
	f.Fuzz(func(t *testing.T, from string) {
		got := ReadAuthor([]string{from})
		if (got.Doubt == "") == (len(got.Domains) == 0) {
			t.Fatalf("%+v", got)
		}
		for _, d := range got.Domains {
			if again, err := dkim.Domain(d); err != nil || again != d {
				t.Fatalf("unsafe: %q", d)
			}
		}
	})
}
