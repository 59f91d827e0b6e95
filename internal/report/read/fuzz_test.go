package read

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"

	"signpost/internal/domain"
)

// FuzzMessage checks that each message is read without a panic, and that what is read has the promised form.
func FuzzMessage(f *testing.F) {
	for _, name := range samples(f) {
		if text, err := os.ReadFile(name); err == nil && strings.HasSuffix(name, ".eml") {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Message(bytes.NewReader(text))
		check(t, r, err)
	})
}

func FuzzFile(f *testing.F) {
	for _, name := range samples(f) {
		if text, err := os.ReadFile(name); err == nil && !strings.HasSuffix(name, ".eml") {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := File(bytes.NewReader(text))
		check(t, r, err)
	})
}

// check checks a report against the comments of its types.
func check(t *testing.T, r *Report, err error) {
	if err != nil {
		if e := (*Error)(nil); !errors.As(err, &e) || e.Error() == "" || r != nil {
			t.Fatal(err, r)
		}
		return
	}
	texts := []string{r.OrgName, r.Contact, r.ID, r.Generator, r.Domain, r.Policy.P, r.Policy.SP, r.Policy.NP, r.Policy.ADKIM, r.Policy.ASPF, r.Policy.FO, r.Policy.Pct, r.Policy.Testing}
	texts = append(texts, r.Errors...)
	for _, row := range r.Rows {
		if !row.Source.IsValid() || row.Source.Is4In6() || row.Source.Zone() != "" || row.Count < 0 || row.Count > maxCount {
			t.Fatalf("%+v", row)
		}
		texts = append(texts, row.Disposition, row.HeaderFrom, row.EnvelopeFrom, row.EnvelopeTo)
		for _, s := range row.Signatures {
			texts = append(texts, s.Domain, s.Selector, s.Result, s.Human)
		}
		for _, s := range row.SPFResults {
			texts = append(texts, s.Domain, s.Scope, s.Result)
		}
		for _, s := range row.Reasons {
			texts = append(texts, s.Type, s.Comment)
		}
	}
	for _, p := range r.Policies {
		if n, err := domain.Parse(p.Domain); err != nil || n != p.Domain || p.Successful < 0 || p.Failed < 0 {
			t.Fatalf("%+v", p)
		}
		texts = append(append(texts, p.Type), p.Hosts...)
		for _, s := range p.Failures {
			texts = append(texts, s.Type, s.MX, s.Reason, s.Info)
		}
	}
	for _, s := range texts {
		if len(s) > maxText || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
			t.Fatalf("%q", s)
		}
	}
	if r.Kind == Failure {
		return
	}
	if n, err := domain.Parse(r.Domain); err != nil || n != r.Domain {
		t.Fatalf("%q", r.Domain)
	}
	if r.ID == "" || r.Begin.Unix() <= 0 || r.End.Before(r.Begin) || !slices.Contains([]Kind{Aggregate, TLS}, r.Kind) || r.Kind == TLS == (len(r.Policies) == 0) {
		t.Fatalf("%+v", r)
	}
}

// FuzzEach checks that each message of a mailbox has the promised form, whatever the others contain, and that the result does not depend on how
// the bytes arrive. A message that is quoted as mbox(5) requires is found after any other.
func FuzzEach(f *testing.F) {
	message := "Subject: x\nContent-Type: text/xml\n\n" + start + "\n" + end + "\n"
	f.Add([]byte("From a b\n" + message + "\nFrom a b\nSubject: broken\n\n" + start + "\n\nFrom a b\n" + message))
	f.Add([]byte("From a b\r\n\r\nFrom \n\n>From \n\x1f\x8b"))
	f.Add([]byte("PK\x03\x04From "))
	f.Fuzz(func(t *testing.T, text []byte) {
		read := func(r io.Reader) (found []string) {
			err := Each(r, func(n int, report *Report, err error) error {
				check(t, report, err)
				if n != 0 && n != len(found)+1 {
					t.Errorf("%d after %d messages", n, len(found))
				}
				domain := ""
				if report != nil {
					domain = report.Domain
				}
				found = append(found, fmt.Sprint(n, CauseOf(err), domain))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		whole := read(bytes.NewReader(text))
		if pieces := read(iotest.HalfReader(iotest.OneByteReader(bytes.NewReader(text)))); !slices.Equal(whole, pieces) {
			t.Errorf("at once %q, byte by byte %q", whole, pieces)
		}
		mbox := "From a b\nSubject: x\n\n" + strings.ReplaceAll("\n"+string(text), "\nFrom ", "\n>From ") + "\n\nFrom a b\n" + message
		if all := read(strings.NewReader(mbox)); len(all) != 2 || all[1] != "2example.com" {
			t.Errorf("%q", all)
		}
	})
}
