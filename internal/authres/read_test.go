package authres

import (
	"fmt"
	"strings"
	"testing"
)

// RFC 8601 section 2.2, in forms that occur in real mail; "" means that the field cannot be parsed.
func TestRead(t *testing.T) {
	for value, want := range map[string]string{
		" mx.example; none":   "mx.example[]",
		" mx.example 1; none": "mx.example[]",
		" mx.example; spf=pass smtp.mailfrom=a@example.com; DMARC=Pass (p=REJECT; dis=NONE) Header.From=example.com": "mx.example[{spf pass  [{smtp mailfrom a@example.com}]} {dmarc pass  [{header from example.com}]}]",
		"mx.example;\r\n\tdmarc/1=fail reason=\"a \\\"b\\\"; dmarc=pass\" header.from=example.com":                   "mx.example[{dmarc fail a \"b\"; dmarc=pass [{header from example.com}]}]",
		" mx.example; dmarc = pass header.from = example.com ; ":                                                     "mx.example[{dmarc pass  [{header from example.com}]}]",
		" mx.example 1; dmarc=pass action=none header.from=example.com;dkim=pass header.b=\"a;b\"":                   "mx.example[{dmarc pass  [{header from example.com}]} {dkim pass  [{header b a;b}]}]",
		" mx.example":                          "",
		"":                                     "",
		" mx.example; dmarc":                   "",
		" mx.example; dmarc=":                  "",
		" mx.example; =pass":                   "",
		" mx.example; dmarc=pass header.from":  "",
		" mx.example; dmarc=pass header.from=": "",
		" mx.example; dmarc=pass (open header.from=x":                "",
		" mx.example; dmarc=pass header.from=\"x":                    "",
		" mx.example; dmarc=pass x header.from=y":                    "",
		" mx.example; dmarc=pass header.s=\"x\"header.d=y":           "",
		" mx.example; dmarc=pass\x00 header.from=y":                  "",
		" mx.example dmarc=pass":                                     "",
		" mx.example;" + strings.Repeat("dmarc=pass;", maxResults+1): "",
		" mx.example; dmarc=pass" + strings.Repeat(" ", maxRead):     "",
	} {
		id, results, ok := Read(value)
		got := ""
		if ok {
			got = id + fmt.Sprint(results)
		}
		if got != want {
			t.Errorf("%.80q:\ngot  %s\nwant %s", value, got, want)
		}
	}
}

// Read returns the results that Format wrote, whatever values they have. No field causes a panic.
func FuzzRead(f *testing.F) {
	f.Add(" mx.example; dmarc=pass (x) header.from=example.com", "a@b")
	f.Add(" mx.example 1; dmarc=pass action=none", `x"; dmarc=pass header.from=bank.example`)
	f.Fuzz(func(t *testing.T, value, name string) {
		if _, results, ok := Read(value); ok && len(results) > maxResults {
			t.Fatal("more results than maxResults")
		}
		field := Format("mx.example", []Result{
			{Method: "spf", Value: "pass", Reason: name, Props: []Prop{{"smtp", "mailfrom", name}}},
			{Method: "dmarc", Value: "fail", Props: []Prop{{"header", "from", "example.com"}}},
		})
		id, results, ok := Read(field)
		if !ok || id != "mx.example" || len(results) != 2 || results[0].Method != "spf" || fmt.Sprint(results[1]) != "{dmarc fail  [{header from example.com}]}" {
			t.Fatalf("%q: %v %v", field, results, ok)
		}
	})
}
