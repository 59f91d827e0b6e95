package dkim

import (
	"testing"
	"time"
)

// A signature whose key allows only TLS reports (s=tlsrpt) counts for TLS reports, and has the status permerror for everything else. A
// signature with l= never counts for TLS reports, even if it covers the whole body.
func TestForTLSReports(t *testing.T) {
	k := newCaseKeys(t)
	now := time.Unix(1795507200, 0)
	for name, c := range map[string]struct {
		record, tags string
		status       Status
		counts       bool
	}{
		"without s=":           {"v=DKIM1; k=ed25519; p=$ED", "", Pass, true},
		"email":                {"v=DKIM1; s=email; k=ed25519; p=$ED", "", Pass, true},
		"all services":         {"v=DKIM1; s=*; k=ed25519; p=$ED", "", Pass, true},
		"tlsrpt":               {"v=DKIM1; s=tlsrpt; k=ed25519; p=$ED", "", PermError, true},
		"tlsrpt and email":     {"v=DKIM1; s=tlsrpt:email; k=ed25519; p=$ED", "", Pass, true},
		"another service":      {"v=DKIM1; s=other; k=ed25519; p=$ED", "", PermError, false},
		"tlsrpt, another key":  {"v=DKIM1; s=tlsrpt; p=$OTHER", "", PermError, false},
		"tlsrpt, strict, i=":   {"v=DKIM1; s=tlsrpt; t=s; k=ed25519; p=$ED", "i=@sub.example.org; ", PermError, false},
		"l= of the whole body": {"v=DKIM1; k=ed25519; p=$ED", "l=24; ", Pass, false},
		"tlsrpt and l=":        {"v=DKIM1; s=tlsrpt; k=ed25519; p=$ED", "l=24; ", PermError, false},
		"tlsrpt, expired":      {"v=DKIM1; s=tlsrpt; k=ed25519; p=$ED", "x=1000; ", PermError, false},
		"revoked":              {"v=DKIM1; s=tlsrpt; p=", "", PermError, false},
	} {
		msg := forge(t, crlf(letter), k.ed, "v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.org; s=s; "+c.tags+"h=from; bh=$BH; b=$SIG")
		r := verifyIn(t, msg, 100, now, zone(map[string]string{"s._domainkey.example.org": k.fill(t, c.record)}))
		if len(r) != 1 || r[0].Status != c.status || r[0].ForTLSReports != c.counts {
			t.Errorf("%s: %+v", name, r)
		}
		msg = append(msg, "changed"...)
		if r := verifyIn(t, msg, 100, now, zone(map[string]string{"s._domainkey.example.org": k.fill(t, c.record)})); r[0].ForTLSReports {
			t.Errorf("%s, changed: %+v", name, r)
		}
	}
}
