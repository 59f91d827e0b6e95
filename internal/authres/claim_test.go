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
		" mx.example.net (mx.example.org); none":         Foreign,
		" example.org; none":                             Foreign,
		" xmx.example.org; none":                         Foreign,
		"":                                               Unreadable,
		" ; spf=pass":                                    Unreadable,
		" (unclosed mx.example.org; spf=pass":            Unreadable,
		" \"mx.example.org; spf=pass":                    Unreadable,
		" mx.example.net mx.example.org; spf=pass":       Unreadable,
		" mx.example.net\x00; spf=pass":                  Unreadable,
		" mx.\"example.org\"; spf=pass":                  Unreadable,
		" mx.(x)example.org; none":                       Unreadable,
		" mx\\.example.org; none":                        Unreadable,
		" mx.example.org,x; none":                        Unreadable,
		" \"mx.example.org;x\"; none":                    Unreadable,
		" mx.example.org\u00a0; none":                    Unreadable, // a space for some
		" mx.example.org\xff; none":                      Unreadable,
		" ｍx.example.org; none":                          Ours, // by UTS 46
		" mx.exam\u00adple.org; none":                    Ours,
		" =?utf-8?q?mx.example.org?=; none":              Unreadable,
		" \"=?utf-8?q?mx.example.org?=\"; none":          Unreadable,
		" (=?utf-8?q?=29mx.example.org=3B?=) a.b; none":  Unreadable,
		" mx.example.net (=?utf-8?q?x?=); none":          Foreign,
		" (a (b) mx.example.org; x=y) a.b; none":         Unreadable,
		" (a comment) mx.example.net; none":              Foreign,
		" mx.example.net; none\rmx.example.org; none":    Unreadable,
		" mx.example.net; none\nmx.example.org; none":    Unreadable,
		" mx.example.net;\r\n\tspf=pass":                 Foreign,
		" bücher.example.net; none":                      Foreign,
		strings.Repeat("ü", 1<<16) + "; none":            Unreadable, // at once
	} {
		if got := ReadClaim(value, ids); got != want {
			t.Errorf("%q: %d, want %d", value, got, want)
		}
	}
}
