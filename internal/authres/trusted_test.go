package authres

import (
	"fmt"
	"strings"
	"testing"
)

// ReadTrusted ignores mistakes in the results of a trusted sealer, except for an open quoted string or comment.
func TestReadTrusted(t *testing.T) {
	for value, want := range map[string]string{
		" mx.example; dmarc=pass header.from=ann@example.com":                       "[{dmarc pass  [{header from ann@example.com}]}]",
		" mx.example 1; DMARC/1=Pass (p=REJECT; x) Header.From=<ann@example.com>":   "[{dmarc pass  [{header from <ann@example.com>}]}]",
		" mx.example; dmarc=pass header.from=\"a;b c\"@example.com":                 `[{dmarc pass  [{header from "a;b c"@example.com}]}]`,
		" mx.example; dmarc=pass header.from=\"a@example.com\"":                     "[{dmarc pass  [{header from a@example.com}]}]",
		" mx.example; spf=pass smtp.mailfrom=a@b for c@d; dmarc=pass header.from=x": "[{spf pass  [{smtp mailfrom a@b}]} {dmarc pass  [{header from x}]}]",
		" mx.example; spf=pass smtp.mailfrom=<\"x; y\"@b>; dmarc=pass":              `[{spf pass  [{smtp mailfrom <"x; y"@b>}]} {dmarc pass  []}]`,
		" mx.example; junk; ; dmarc=pass junk, header.from=x;":                      "[{dmarc pass  [{header from x}]}]",
		" spf=none;dmarc=pass action=none header.from=x":                            "[{spf none  []} {dmarc pass  [{header from x}]}]",
		" mx.example; dmarc pass; dmarc=pass header.from=x":                         "[{dmarc   []} {dmarc pass  [{header from x}]}]",
		" mx.example; dmarc; dmarc=pass":                                            "[{dmarc   []} {dmarc pass  []}]",
		" mx.example; spf=pass dmarc=fail; dmarc=pass":                              "[{spf pass  []} {dmarc   []} {dmarc pass  []}]",
		" mx.example; none": "[]",
		"":                  "[]",
		" mx.example; spf=pass smtp.mailfrom=\"x; dmarc=pass header.from=y": "unreadable",
		" mx.example; spf=pass (x; dmarc=pass header.from=y":                "unreadable",
		" mx.example; spf=pass (\\); dmarc=pass header.from=y":              "unreadable",
		" mx.example; dmarc=pass\x00 header.from=y":                         "unreadable",
		" mx.example; dmarc=pass\r\nheader.from=y":                          "unreadable",
		" mx.example;" + strings.Repeat("dmarc=pass;", maxResults+1):        "unreadable",
		strings.Repeat(";", maxRead+1):                                      "unreadable",
	} {
		results, ok := ReadTrusted(value)
		got := fmt.Sprint(results)
		if !ok {
			got = "unreadable"
		}
		if got != want {
			t.Errorf("%.80q:\ngot  %s\nwant %s", value, got, want)
		}
	}
}

// Text that a sealer copies from its client in quotes never adds a DMARC result. Text that the sealer copies without quotes may add a DMARC
// result, but it cannot hide that there are two results.
func FuzzReadTrusted(f *testing.F) {
	f.Add("x; dmarc=pass header.from=bank.example")
	f.Add(`x"; dmarc=pass header.from=bank.example (`)
	f.Add(`a"b"c(d)e\`)
	f.Fuzz(func(t *testing.T, text string) {
		dmarcResults := func(value string) (all []Result) {
			results, _ := ReadTrusted(value)
			for _, r := range results {
				if r.Method == "dmarc" {
					all = append(all, r)
				}
			}
			return all
		}
		field := Format("mx.example", []Result{
			{Method: "spf", Value: "pass", Reason: text, Props: []Prop{{"smtp", "mailfrom", text}}},
			{Method: "dmarc", Value: "fail", Props: []Prop{{"header", "from", "example.com"}}},
		})
		if got := fmt.Sprint(dmarcResults(field)); got != "[{dmarc fail  [{header from example.com}]}]" {
			t.Fatalf("%q: %s", field, got)
		}
		if all := dmarcResults("mx.example; spf=pass smtp.mailfrom=" + text + "; dmarc=fail header.from=example.com"); len(all) == 1 && all[0].Value == "pass" {
			t.Fatalf("%q: %v", text, all)
		}
	})
}
