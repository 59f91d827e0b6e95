package dkim

import (
	"crypto/ed25519"
	"net"
	"strings"
	"testing"
	"time"
)

// HeaderHolds is set if a signature verifies over the header, whether or not the body was changed. It is not set if the header was
// changed too, or if another key made the signature.
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
		"another key":     {"text\r\nfooter\r\n", " as it was", ed25519.NewKeyFromSeed(other), false},
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
		if got := results[0].HeaderHolds; got != c.want || results[0].Status != before.Status || results[0].Cause != before.Cause {
			t.Errorf("%s: %v %+v", name, got, results[0])
		}
	}
}

// HoldsUntagged is set if a signature verifies over the header without a list's name in Subject. It is not set if the header was changed
// in another way, or if another key made the signature. The status remains fail.
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
		"the longest tag":               {" Lunch", " [" + strings.Repeat("x", maxTag) + "] Lunch", "text\r\n", " ann@example.com", true},
		"a sentence for a tag":          {" Lunch", " [" + strings.Repeat("x", maxTag+1) + "] Lunch", "text\r\n", " ann@example.com", false},
		"a tag behind other words":      {" Lunch today", " Lunch [list] today", "text\r\n", " ann@example.com", false},
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
		if got := results[0].HoldsUntagged; got != c.want || results[0].Status != before.Status || results[0].Cause != before.Cause {
			t.Errorf("%s: %v %+v", name, got, results[0])
		}
		if results[0].HeaderHolds != (c.was == c.subject) {
			t.Errorf("%s: HeaderHolds is %v", name, results[0].HeaderHolds)
		}
	}
}

// A signature whose key cannot be looked up is not verified over the header. HeaderOpen and KeyName are set, even if the body was changed
// and Results therefore did not look up the key.
func TestHeaderOpen(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	broken := func(name string) ([]string, error) {
		return nil, &net.DNSError{Err: "server misbehaving", Name: name, IsTemporary: true}
	}
	for name, c := range map[string]struct{ body, subject string }{
		"nothing changed":      {"text\r\n", " Lunch"},
		"body changed":         {"text\r\nfooter\r\n", " Lunch"},
		"tag added":            {"text\r\n", " [list] Lunch"},
		"body and tag changed": {"text\r\nfooter\r\n", " [list] Lunch"},
	} {
		header := []Field{{"From", " ann@example.com"}, {"Subject", " Lunch"}}
		signer, err := NewSigner(header, []Key{{Domain: "example.com", Selector: "s", Signer: key}}, time.Now(), time.Hour)
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
		results := v.Results(time.Now(), broken)
		v.CheckHeaders(results, func(string) bool { return true }, broken)
		if r := results[0]; r.HeaderHolds || r.HoldsUntagged || !r.HeaderOpen || r.KeyName != "s._domainkey.example.com" {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// A signature identifies a message to its reader if it covers every From, Subject, To and Date field and lists each name at least once.
// Many mail programs show a second field of such a name, even if the signature does not cover that field.
func TestSignsIdentity(t *testing.T) {
	const all = "from:to:subject:date"
	for _, c := range []struct {
		name, h, more string
		want          bool
	}{
		{"each once", all, "", true},
		{"other order and case", "Date:TO:Subject:From:Message-ID", "", true},
		{"each more often than there are fields", all + ":" + all, "", true},
		{"fields that are absent", all, "-to", true},
		{"no Subject", "from:to:date", "", false},
		{"no To", "from:subject:date", "", false},
		{"no To in h=, and no To field", "from:subject:date", "-to", false},
		{"no Date", "from:to:subject", "", false},
		{"From alone", "from", "", false},
		{"a second Subject", all, "subject", false},
		{"a second To", all, "to", false},
		{"a second Date", all, "date", false},
		{"a second Subject that is signed", all + ":subject", "subject", true},
		{"a third Subject", all + ":subject", "subject,subject", false},
		{"another second field", all, "reply-to", true},
		{"names that only begin alike", "from:to:subjects:date", "", false},
	} {
		fields := []Field{{SignatureField, " v=1; a=ed25519-sha256; d=example.com; s=s; h=" + c.h + "; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA"}}
		for _, name := range []string{"From", "To", "Subject", "Date"} {
			if !strings.EqualFold("-"+name, c.more) {
				fields = append(fields, Field{name, " x"})
			}
		}
		if !strings.HasPrefix(c.more, "-") && c.more != "" {
			for name := range strings.SplitSeq(c.more, ",") {
				fields = append(fields, Field{name, " y"})
			}
		}
		if got := NewVerifier(fields, nil).SignsIdentity(0); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// The time of a signature is t=. Without t=, it is the time in the only Date field.
func TestSignedAt(t *testing.T) {
	date := Field{"Date", " Tue, 14 Nov 2023 22:00:00 +0000"}
	for _, c := range []struct {
		name, tags string
		dates      []Field
		unix       int64 // -1: none
	}{
		{"t=", " t=1700000000;", nil, 1700000000},
		{"t= before Date", " t=1699000000;", []Field{date}, 1699000000},
		{"t=0", " t=0;", []Field{date}, 0},
		{"the largest t=", " t=9223372036854775807;", nil, 1<<63 - 1},
		{"Date", "", []Field{date}, 1699999200},
		{"Date with a comment and a fold", "", []Field{{"DATE", "\r\n\tTue, 14 Nov 2023 22:00:00 +0000 (UTC)"}}, 1699999200},
		{"no Date", "", nil, -1},
		{"two Dates", "", []Field{date, date}, -1},
		{"an unreadable Date", "", []Field{{"Date", " yesterday"}}, -1},
		{"an empty Date", "", []Field{{"Date", ""}}, -1},
	} {
		fields := append([]Field{{SignatureField, " v=1; a=ed25519-sha256; d=example.com; s=s; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;" + c.tags + " b=AAAA"}}, c.dates...)
		at, ok := NewVerifier(fields, nil).SignedAt(0)
		if ok != (c.unix >= 0) || ok && at.Unix() != c.unix {
			t.Errorf("%s: %v %v", c.name, at, ok)
		}
	}
}
