package authres

import "testing"

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
	} {
		if got := ReadClaim(value, ids); got != want {
			t.Errorf("%q: %d, want %d", value, got, want)
		}
	}
}

// Whatever is written around our name, it is never taken for somebody else's.
func FuzzReadClaim(f *testing.F) {
	f.Add(" ", "(x)")
	f.Add("(\\))", "\t1")
	f.Fuzz(func(t *testing.T, before, after string) {
		rest, ok := skipCFWS(before)
		if !ok || rest != "" {
			return
		}
		if got := ReadClaim(before+"MX.example.org "+after+"; none", []string{"mx.example.org"}); got == Foreign {
			t.Fatalf("%q %q", before, after)
		}
	})
}
