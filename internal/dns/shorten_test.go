package dns

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// A shortened answer is at most MaxShortened bytes long and states whether it is complete. No part of a record becomes a policy: the
// shortened answer has the same policies as the original, or none if it is incomplete.
func TestShortenedAnswers(t *testing.T) {
	spf, dmarc := "v=spf1 include:example.net -all", "v=DMARC1; p=reject"
	var tokens []string
	for i := range 60 {
		tokens = append(tokens, fmt.Sprintf("token-%03d=%s", i, strings.Repeat("x", 60)))
	}
	long := "v=spf1 " + strings.Repeat("ip4:192.0.2.1 ", 300) + "-all"
	for name, c := range map[string]struct {
		answer *answer
		cut    bool
	}{
		"short":                         {&answer{text: []string{spf, "other"}}, false},
		"many others before":            {&answer{text: append(slices.Clone(tokens), spf)}, false},
		"no policy":                     {&answer{text: tokens}, false},
		"two policies":                  {&answer{text: slices.Concat([]string{spf}, tokens, []string{dmarc})}, false},
		"a long policy":                 {&answer{text: []string{long}}, true},
		"a long policy after another":   {&answer{text: []string{spf, long}}, true},
		"a long record, no policy":      {&answer{text: []string{strings.Repeat("x", 5000)}}, true},
		"a long record and another one": {&answer{text: []string{strings.Repeat("x", 5000), "other"}}, false},
		"any bytes":                     {&answer{text: []string{"v=" + strings.Repeat("\x00", 1500)}}, false},
		"names":                         {&answer{names: slices.Repeat([]string{strings.Repeat("a.", 100)}, 100)}, true},
	} {
		l := shortenedLookup(c.answer)
		if recordBytes(l) > MaxShortened || l.Incomplete() != c.cut || l.Failed() {
			t.Errorf("%s: %d bytes, incomplete %v: %+v", name, recordBytes(l), l.Incomplete(), l)
		}
		if again := l.Shorten(); !reflect.DeepEqual(again, l) {
			t.Errorf("%s: shortened again, it is %+v, not %+v", name, again, l)
		}
		v := Recall([]Lookup{l})
		got, err := v.LookupTXT(t.Context(), l.Name)
		if c.cut != v.Missed() && l.Type == "TXT" {
			t.Errorf("%s: cut %v, missed %v", name, c.cut, v.Missed())
		}
		if c.cut {
			continue
		}
		tagged := func(all []string) []string {
			return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !hasVersion(s) })
		}
		if err != nil || !slices.Equal(tagged(got), tagged(c.answer.text)) || len(got) == 0 {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// shortenedLookup returns an answer in the form of a Lookup of a message.
func shortenedLookup(a *answer) Lookup {
	qtype := dns.TypeTXT
	if a.names != nil {
		qtype = dns.TypePTR
	}
	return Answered{[]asked{{question: question{"example.org.", qtype}, name: "example.org.", answer: a}}}.Shortened()[0]
}

func recordBytes(l Lookup) (n int) {
	for _, r := range l.Records {
		n += len(r) + recordRoom
	}
	return n
}

// Whatever an answer contains, its shortened form keeps the limit, and recalling it returns no policy that was not in the answer.
func FuzzKept(f *testing.F) {
	f.Add("v=spf1 -all", "x", 3, 700)
	f.Add("(3 more records, 4 bytes)", "v=\"", 1, 2000)
	f.Fuzz(func(t *testing.T, one, other string, n, size int) {
		n, size = min(max(n, 0), 20), min(max(size, 0), 3000)
		a := answer{text: append(slices.Repeat([]string{other + strings.Repeat("\xff", size)}, n), one)}
		l := shortenedLookup(&a)
		if recordBytes(l) > MaxShortened {
			t.Fatalf("%d bytes: %q", recordBytes(l), l.Records)
		}
		got, _ := Recall([]Lookup{l}).LookupTXT(t.Context(), l.Name)
		for _, g := range got {
			if !slices.Contains(a.text, g) {
				t.Errorf("%q was not among %q: %q", g, a.text, l.Records)
			}
		}
		if len(got) > 0 {
			for _, want := range a.text {
				if hasVersion(want) && !slices.Contains(got, want) {
					t.Errorf("%q is missing: %q", want, l.Records)
				}
			}
		}
	})
}
