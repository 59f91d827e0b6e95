package filter

import (
	"bytes"
	"crypto/ed25519"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"signpost/internal/dkim"
	"signpost/internal/testdkim"
	"signpost/milter"
	"signpost/policy"
)

// The log line of a message that is accepted because of a trusted sealer names the sealer and its result. The line of a message without
// ARC fields has no arc attribute.
func TestARCInTheLog(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	record, err := dkim.FormatKeyRecord(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	f := newFilter(t, "_dmarc.example.com. TXT \"v=DMARC1; p=reject\"\ns._domainkey.list.example. TXT \""+record+"\"\n")
	f.Rules.TrustedSealers = []string{"list.example"}
	var log bytes.Buffer
	f.Log = slog.New(slog.NewTextHandler(&log, nil))
	judge := func(msg []byte) string {
		log.Reset()
		fields, _, err := dkim.ReadMessage(bytes.NewReader(msg))
		if err != nil {
			t.Fatal(err)
		}
		m := f.Begin(t.Context(), milter.Session{MTA: "mx", SMTP: true, Client: netip.MustParseAddr("203.0.113.9")}, milter.Envelope{})
		for _, field := range fields {
			m.Header(field.Name, field.Value)
		}
		m.EndHeaders("Q")
		m.Body([]byte("Hello\r\n"))
		m.Finish(t.Context())
		return log.String()
	}
	msg := []byte("From: ann@example.com\r\n\r\nHello\r\n")
	sealed, err := testdkim.Sealer{Domain: "list.example", Selector: "s", Signer: key, Results: "list.example; dmarc=pass header.from=EXAMPLE.com"}.Seal(msg)
	if err != nil {
		t.Fatal(err)
	}
	line := judge(sealed)
	for _, want := range []string{" action=accept code=dmarc_fail ", " arc=pass:list.example ", " override=trusted_forwarder ", " evidence="} {
		if !strings.Contains(line, want) {
			t.Errorf("%q is not in %s", want, line)
		}
	}
	if line := judge(msg); strings.Contains(line, " arc=") {
		t.Error(line)
	}
}

// An ARC set counts only if it has exactly one DMARC result, for exactly one domain.
func TestSealedDMARC(t *testing.T) {
	for results, want := range map[string]policy.SealedDMARC{
		" mx; dmarc=pass header.from=Example.COM":    {Instance: 1, Domain: "example.com", Result: "pass"},
		" mx; dmarc=fail header.from=bücher.example": {Instance: 1, Domain: "xn--bcher-kva.example", Result: "fail"},
		" mx; dmarc=pass": {},
		" mx; dmarc=pass smtp.mailfrom=example.com":                             {},
		" mx; dmarc=pass header.from=example.com header.from=bank.example":      {},
		" mx; dmarc=pass header.from=\"example.com x\"":                         {},
		" mx; dmarc=pass header.from=a.example; dmarc=pass header.from=b":       {},
		" mx; dmarc=pass header.from=ann@example.com":                           {Instance: 1, Domain: "example.com", Result: "pass"},
		" mx; dmarc=pass header.from=@example.com":                              {Instance: 1, Domain: "example.com", Result: "pass"},
		" mx; dmarc=pass header.from=<ann@example.com>":                         {Instance: 1, Domain: "example.com", Result: "pass"},
		" mx; dmarc=pass header.from=\"Ann <ann@example.com>\"":                 {Instance: 1, Domain: "example.com", Result: "pass"},
		" mx; dmarc=pass header.from=\"b@bank.example, x\"@example.com":         {Instance: 1, Domain: "example.com", Result: "pass"},
		" mx; dkim=pass header.b=x for a@b; dmarc=pass header.from=example.com": {Instance: 1, Domain: "example.com", Result: "pass"},
		" mx; dmarc=pass header.from=a@b@example.com":                           {},
		" mx; dmarc=pass header.from=b@bank.example,ann@example.com":            {},
		" mx; dmarc=pass header.from=\"b@bank.example, ann@example.com\"":       {},
		" mx; dmarc=pass header.from=<b@bank.example><ann@example.com>":         {},
		" mx; dmarc=pass header.from=<ann@example.com":                          {},
		" mx; dmarc=pass header.from=example.com; dmarc":                        {},
		" mx; spf=pass smtp.mailfrom=\"x; dmarc=pass header.from=example.com":   {},
		" mx; spf=pass": {},
		" mx":           {},
		"":              {},
	} {
		got := sealedDMARC([]dkim.Sealer{{Instance: 1, Results: results}})
		if want == (policy.SealedDMARC{}) && len(got) != 0 || want != (policy.SealedDMARC{}) && (len(got) != 1 || got[0] != want) {
			t.Errorf("%q: %+v, want %+v", results, got, want)
		}
	}
}
