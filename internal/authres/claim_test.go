package authres

import (
	"strings"
	"testing"
)

func TestReadClaim(t *testing.T) {
	ids := []string{"mx.example.org", "old.example.org", "bücher.example"}
	for value, want := range map[string]Claim{
		" mx.example.org; spf=pass":                      Ours,
		"MX.Example.ORG;dkim=pass":                       Ours,
		" mx.example.org 1; none":                        Ours,
		" mx.example.org/1; none":                        Ours,
		" (a (nested) \\) comment) mx.example.org; none": Ours,
		" mx.example.org(comment); none":                 Ours,
		" \"mx.example.org\"; none":                      Ours,
		" \"mx\\.example.org\" 1; none":                  Ours,
		"\n\tmx.example.org\n\t;\n\tnone":                Ours,
		" mx.example.org":                                Ours,
		" mx.example.org.; none":                         Ours,
		" old.example.org; none":                         Ours,
		" xn--bcher-kva.example; none":                   Ours,
		" BÜCHER.example; none":                          Ours,
		" mx.example.net; spf=pass":                      Foreign,
		" mx.example.net 1; none":                        Foreign,
		" mx.example.net (mx.example.org); none":         Unreadable, // found by a search for our name
		" example.org; none":                             Foreign,
		" xmx.example.org; none":                         Unreadable, // found by a search for our name
		" (unclosed mx.example.org; spf=pass":            Unreadable,
		" \"mx.example.org; spf=pass":                    Unreadable,
		" mx.example.net mx.example.org; spf=pass":       Unreadable,
		" mx.example.net\x00; spf=pass":                  Unreadable,
		" mx.\"example.org\"; spf=pass":                  Unreadable,
		" mx.(x)example.org; none":                       Unreadable,
		" mx\\.example.org; none":                        Unreadable,
		" mx.example.org,x; none":                        Unreadable,
		" \"mx.example.org;x\"; none":                    Unreadable,
		" mx.example.org\u00a0; none":                    Unreadable, // some programs treat it as a space
		" mx.example.org\xff; none":                      Unreadable,
		" ｍx.example.org; none":                          Ours, // UTS 46 maps it to x
		" mx.exam\u00adple.org; none":                    Ours,
		" =?utf-8?q?mx.example.org?=; none":              Unreadable,
		" \"=?utf-8?q?mx.example.org?=\"; none":          Unreadable,
		" (=?utf-8?q?=29mx.example.org=3B?=) a.b; none":  Unreadable,
		" mx.example.net (=?utf-8?q?x?=); none":          Unreadable, // decodes to any text
		" (a (b) mx.example.org; x=y) a.b; none":         Unreadable,
		" (a comment) mx.example.net; none":              Foreign,
		" mx.example.net; none\rmx.example.org; none":    Unreadable,
		" mx.example.net; none\nmx.example.org; none":    Unreadable,
		" mx.example.net;\r\n\tspf=pass":                 Foreign,
		" bücher.example.net; none":                      Unreadable, // found by a search for our name
		" bücher.test; none":                             Foreign,
		strings.Repeat("ü", 1<<16) + "; none":            Unreadable, // without a slow conversion

		// Filters that do not parse the field find our name in these values.
		" x;mx.example.org; dmarc=pass":                            Unreadable,
		" 'mx.example.org'; dmarc=pass":                            Unreadable,
		" mx.example.org!x; dmarc=pass":                            Unreadable,
		" mx.example.org.example.net; dmarc=pass":                  Unreadable,
		" a.mx.example.org; dmarc=pass":                            Unreadable,
		" x; (mx.example.org;) dmarc=pass":                         Unreadable,
		" x (MX.EXAMPLE.ORG); dmarc=pass":                          Unreadable,
		" x (m\\x.example.org); dmarc=pass":                        Unreadable,
		" x (BÜCHER.example); dmarc=pass":                          Unreadable,
		" x (XN--bcher-kva.example); dmarc=pass":                   Unreadable,
		" x; none (mx.example.org; dmarc=pass)":                    Unreadable, // none is not a result
		" x (=?utf-8?q?mx.example.org?=); dmarc=pass":              Unreadable,
		" x; dmarc=pass junk":                                      Unreadable,
		" x; dmarc=pass (open":                                     Unreadable,
		" x; dmarc=pass; mx.example.org; dmarc=pass":               Unreadable,
		" x dmarc=pass":                                            Unreadable,
		" x; dmarc":                                                Unreadable,
		" x; dmarc=pass" + strings.Repeat(" ", maxRead):            Unreadable,
		" x; spf=pass smtp.mailfrom=a@mx.example.org; dkim=none":   Foreign, // a name after the first result is not an id
		" x; spf=pass (mx.example.org: domain of a@b) smtp.helo=c": Foreign,
		" x; spf=pass smtp.mailfrom=a;":                            Foreign,
		" mx.example.net":                                          Foreign,

		// A field without an id claims nothing, unless our name is in the place of the id.
		"":            Unnamed,
		" ; spf=pass": Unnamed,
		" dkim=none (message not signed) header.d=none;dmarc=none action=none header.from=example.com;":                               Unnamed,
		" spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=example.com; example.net; dkim=pass header.d=example.com;example.net; x=y;": Unnamed,
		" spf=fail smtp.mailfrom=x; mx.example.org; dmarc=pass":                                                                       Unreadable,
		" (mx.example.org) dmarc=pass":       Unreadable,
		" (mx.example.org;) ; dmarc=pass":    Unreadable,
		" ; mx.example.org; dmarc=pass":      Unreadable,
		" dkim=none header.d=mx.example.org": Unnamed,
	} {
		if got := ReadClaim(value, ids); got != want {
			t.Errorf("%q: %d, want %d", value, got, want)
		}
	}
}

// An id of a single label is a part of many names. It must not cause the removal of fields with these names.
func TestReadClaimSingleLabel(t *testing.T) {
	for value, want := range map[string]Claim{
		" mx; dmarc=pass":               Ours,
		" x; mx; dmarc=pass":            Unreadable,
		" 'mx'; dmarc=pass":             Unreadable,
		" x (mx); dmarc=pass":           Unreadable,
		" mx.example.net; dmarc=pass":   Foreign,
		" in-mx.example.net; spf=none":  Foreign,
		" amx; spf=none":                Foreign,
		" mail.example.net (x); spf=ok": Foreign,
	} {
		if got := ReadClaim(value, []string{"mx"}); got != want {
			t.Errorf("%q: %d, want %d", value, got, want)
		}
	}
}
