package main

import (
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"

	"github.com/emersion/go-milter"

	"signpost/internal/dkim"
)

// A server with wrong answers is not measured. The error contains the wrong answer.
func TestCheck(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	record, err := dkim.FormatKeyRecord(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{key: key, record: record}
	const insert = "i\x00\x00\x00\x00"
	for _, c := range []struct{ name, role, answer, want string }{
		{"does nothing", signing, "c", "it did not sign"},
		{"signs nonsense", signing, insert + "DKIM-Signature\x00v=1;a=rsa-sha256;d=example.org;s=bench;h=from;bh=AAAA;b=AAAA\x00 c", "does not verify"},
		{"has no results", verifying, "c", "no dkim=pass"},
		{"does not check SPF", verifying, insert + "Authentication-Results\x00mx;dkim=pass\x00 c", "no spf=pass"},
		{"passes everything", verifying, insert + "Authentication-Results\x00mx;dkim=pass;spf=pass;dmarc=pass\x00 c", "a changed body was not detected"},
	} {
		f := &fake{events: allEvents &^ (milter.OptNoBody | milter.OptNoHeaders | milter.OptNoEOH), answers: map[byte]string{'E': c.answer}}
		s := &server{name: "fake", roles: []string{c.role}, spf: true, sockets: []string{f.serve(t)}}
		if err := w.check(s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("a server that %s: %v, want %q", c.name, err, c.want)
		}
	}
}
