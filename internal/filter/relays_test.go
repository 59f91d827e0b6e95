package filter

import (
	"strings"
	"testing"

	"signpost/internal/domain"
	"signpost/internal/spf"
)

// listDomain returns the domain of a List-Id in angle brackets, as in RFC 2919 section 3, or without brackets, as some lists write it. If
// the List-Id is not a domain, it returns "".
func TestListDomain(t *testing.T) {
	for value, want := range map[string]string{
		" Talk <talk.lists.example.net>":        "talk.lists.example.net",
		" <Talk.Lists.EXAMPLE.net>":             "talk.lists.example.net",
		" \"a <b.example>\" <talk.example.net>": "talk.example.net",
		"\r\n\t<talk.example.net>\r\n":          "talk.example.net",
		" < talk.example.net >":                 "talk.example.net",
		" talk.example.net":                     "talk.example.net",
		" <talk.bücher.example>":                "talk.xn--bcher-kva.example",
		" <talk.example.net":                    "talk.example.net",
		"":                                      "",
		" ":                                     "",
		" <>":                                   "",
		" <talk@example.net>":                   "",
		" <talk.example.net.>":                  "",
		" <talk..example.net>":                  "",
		" <.example.net>":                       "",
		" <talk.example.net\x00.stranger.example>":    "",
		" <talk.example.net stranger.example>":        "",
		" <talk.example.net\r\n\t.stranger.example>":  "",
		" talk.example.net (Talk)":                    "",
		" <" + strings.Repeat("a.", 1<<20) + "net>":   "",
		" " + strings.Repeat("<", 1<<20):              "",
		" <" + strings.Repeat("ü", 1<<20) + ".net>":   "",
		" <" + strings.Repeat("a", 64) + ".example>":  "",
		" <" + strings.Repeat("a.", 127) + "example>": "",
	} {
		if got := listDomain(value); got != want {
			t.Errorf("%.60q: %q, want %q", value, got, want)
		}
	}
}

// postDomain returns the domain of the first mailto URL of a List-Post (RFC 2369 sections 2 and 3.4). For other URLs and "NO", it returns
// "".
func TestPostDomain(t *testing.T) {
	for value, want := range map[string]string{
		" <mailto:talk@lists.example.net>":                             "lists.example.net",
		" <MAILTO:talk@Lists.Example.NET>":                             "lists.example.net",
		" <mailto:talk@example.net?subject=x@stranger.example>":        "example.net",
		" <https://example.net/post>, <mailto:talk@lists.example.net>": "lists.example.net",
		" <mailto:moderator@example.net> (Postings are Moderated)":     "example.net",
		" (comment) < mailto:talk@example.net >":                       "example.net",
		" <mailto:a@one.example>, <mailto:b@two.example>":              "one.example",
		" <mailto:talk>, <mailto:b@two.example>":                       "two.example",
		" <mailto:talk@bücher.example>":                                "xn--bcher-kva.example",
		" <mailto:a@one.example@two.example>":                          "two.example",
		"":                                                             "",
		" ":                                                            "",
		" NO":                                                          "",
		" NO (posting not allowed)":                                    "",
		" <>":                                                          "",
		" <mailto:>":                                                   "",
		" <mailto:@>":                                                  "",
		" <mailto:talk>":                                               "",
		" <mailto:?subject=x@example.net>":                             "",
		" mailto:talk@example.net":                                     "",
		" <mailto:talk@example.net":                                    "",
		" <https://example.net/a@b.example>":                           "",
		" <xmailto:talk@example.net>":                                  "",
		" <mailto:talk@example.net.>":                                  "",
		" <mailto:talk@[192.0.2.1]>":                                   "",
		" <mailto:talk@example.net%2estranger.example>":                "",
		" <mailto:talk@example.net\x00>":                               "",
		" <mailto:talk@example.net\r\n\t.stranger.example>":            "",
		" " + strings.Repeat("<mailto:x@", 1<<18):                      "",
		" <mailto:" + strings.Repeat("x@", 1<<20) + ">":                "",
		" <mailto:x@" + strings.Repeat("a.", 1<<20) + "net>":           "",
		" " + strings.Repeat("<x>", 1<<18) + "<mailto:x@y.example>":    "y.example",
	} {
		if got := postDomain(value); got != want {
			t.Errorf("%.60q: %q, want %q", value, got, want)
		}
	}
}

// Whatever a sender writes, each parser returns either "" or a domain that the value contains and that is safe to look up.
func FuzzRelays(f *testing.F) {
	f.Add("Talk <talk.lists.example.net>")
	f.Add("<https://example.net/>, <mailto:talk@Lists.example.net?subject=x>")
	f.Add("SRS0=Xy1z=KA=example.com=ann@fwd.example")
	f.Add("SRS1=Ab2c=first.example==Xy1z=KA=example.com=ann@fwd.example")
	f.Add("bob+SRS=Xy1zA=KA=example.com=ann@fwd.example")
	f.Fuzz(func(t *testing.T, value string) {
		for name, got := range map[string]string{"listDomain": listDomain(value), "postDomain": postDomain(value), "SRSDomain": spf.SRSDomain(value)} {
			if got == "" {
				continue
			}
			if again, err := domain.Parse(got); err != nil || again != got {
				t.Errorf("%s returns %q, which is not a domain in lower-case A-labels", name, got)
			}
			if ascii := !strings.ContainsFunc(value, func(r rune) bool { return r >= 0x80 }); ascii && !strings.Contains(strings.ToLower(value), got) {
				t.Errorf("%s returns %q, which is not in %q", name, got, value)
			}
		}
	})
}

// note keeps the topmost field of a name and recognizes names in any case.
func TestTraces(t *testing.T) {
	var seen traces
	for _, f := range [][3]string{
		{"List-Id", "first", "List-Id"},
		{"LIST-ID", "second", "List-Id"},
		{"list-post", "post", "List-Post"},
		{"Resent-Foo", "foo", "Resent-"},
		{"RESENT-from", "from", "Resent-"},
		{"Resent-From", "later", "Resent-"},
		{"arc-seal", "x", "ARC-Seal"},
		{"List-Identity", "x", ""},
		{"Resent", "x", ""},
		{"X-List-Id", "x", ""},
	} {
		if got := seen.note(f[0], f[1]); got != f[2] {
			t.Errorf("%q: %q, want %q", f[0], got, f[2])
		}
	}
	if want := (traces{"first", "post", "from"}); seen != want {
		t.Errorf("%+v, want %+v", seen, want)
	}
}
