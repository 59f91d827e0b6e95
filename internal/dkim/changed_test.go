package dkim

import (
	"crypto/ed25519"
	"testing"
	"time"
)

// A signature whose header verifies, whatever became of the body, is distinguished from one whose header was changed as well, and
// from one that another key made.
func TestHeaderHolds(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	other := make([]byte, ed25519.SeedSize)
	other[0] = 1
	header := []Field{{"From", " ann@example.com"}, {"Subject", " as it was"}}
	for name, c := range map[string]struct {
		body, subject string
		key           ed25519.PrivateKey
		want          bool
	}{
		"as it was":       {"text\r\n", " as it was", key, true}, // it passes
		"a footer":        {"text\r\nfooter\r\n", " as it was", key, true},
		"header and body": {"text\r\nfooter\r\n", " [list] as it was", key, false},
		"another's key":   {"text\r\nfooter\r\n", " as it was", ed25519.NewKeyFromSeed(other), false},
	} {
		signer, err := NewSigner(header, []Key{{Domain: "example.com", Selector: "s", Signer: c.key}}, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		signer.Write([]byte("text\r\n"))
		signed, err := signer.Sign()
		if err != nil {
			t.Fatal(err)
		}
		v := NewVerifier(append(signed, header[0], Field{"Subject", c.subject}), nil)
		v.Write([]byte(c.body))
		record, err := FormatKeyRecord(key.Public().(ed25519.PublicKey))
		if err != nil {
			t.Fatal(err)
		}
		look := func(string) ([]string, error) { return []string{record}, nil }
		results := v.Results(time.Now(), look)
		before := results[0]
		v.CheckHeaders(results, func(string) bool { return true }, look)
		if got := results[0].HeaderHolds; got != c.want || results[0].Status != before.Status || results[0].Reason != before.Reason {
			t.Errorf("%s: %v %+v", name, got, results[0])
		}
	}
}

// A signature whose header holds without a list's name in Subject is told from one whose header was changed otherwise, and from one
// that another key made. It fails all the same.
func TestHoldsUntagged(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	record, err := FormatKeyRecord(key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		was, subject, body, from string
		want                     bool
	}{
		"a tag and a footer":            {" Lunch", " [list] Lunch", "text\r\nfooter\r\n", " ann@example.com", true},
		"a tag alone":                   {" Lunch", " [list] Lunch", "text\r\n", " ann@example.com", true},
		"a tag with a number":           {" Lunch", " [list 1234] Lunch", "text\r\n", " ann@example.com", true},
		"a tag behind Re:":              {" Re: Lunch", " Re: [list] Lunch", "text\r\n", " ann@example.com", true},
		"a tag before Re:":              {" Re: Lunch", " [list] Re: Lunch", "text\r\n", " ann@example.com", true},
		"the author's own brackets too": {" [urgent] Lunch", " [list] [urgent] Lunch", "text\r\n", " ann@example.com", true},
		"nothing was changed":           {" [list] Lunch", " [list] Lunch", "text\r\n", " ann@example.com", false}, // it passes
		"a footer alone":                {" [list] Lunch", " [list] Lunch", "text\r\nfooter\r\n", " ann@example.com", false},
		"another word":                  {" Lunch", " [list] Dinner", "text\r\n", " ann@example.com", false},
		"another author":                {" Lunch", " [list] Lunch", "text\r\n", " eve@example.com", false},
		"an open bracket":               {" Lunch", " [list Lunch", "text\r\n", " ann@example.com", false},
	} {
		signer, err := NewSigner([]Field{{"From", " ann@example.com"}, {"Subject", c.was}}, []Key{{Domain: "example.com", Selector: "s", Signer: key}}, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		signer.Write([]byte("text\r\n"))
		signed, err := signer.Sign()
		if err != nil {
			t.Fatal(err)
		}
		v := NewVerifier(append(signed, Field{"From", c.from}, Field{"Subject", c.subject}), nil)
		v.Write([]byte(c.body))
		look := func(string) ([]string, error) { return []string{record}, nil }
		results := v.Results(time.Now(), look)
		before := results[0]
		v.CheckHeaders(results, func(string) bool { return true }, look)
		if got := results[0].HoldsUntagged; got != c.want || results[0].Status != before.Status || results[0].Reason != before.Reason {
			t.Errorf("%s: %v %+v", name, got, results[0])
		}
		if results[0].HeaderHolds != (c.was == c.subject) {
			t.Errorf("%s: the header as it is: %v", name, results[0].HeaderHolds)
		}
	}
}
