package config

import (
	"reflect"
	"testing"
)

func TestChanged(t *testing.T) {
	for _, c := range []struct {
		before, after string
		want          []string
	}{
		{"", "mode = \"enforce\"\nlisten = [\"unix:/var/spool/postfix/signpost/milter.sock\"]\n[log]\nlevel = \"info\"\n", nil},
		{"mode = \"observe\"", "", []string{"mode"}},
		{"[sign]\nexpire = \"24h\"", "[sign]\nexpire = \"1d\"", nil},
		{"[sign]\nexpire = \"24h\"", "[sign]\nexpire = \"2d\"\n[spf]\nfail = \"reject\"", []string{"sign.expire", "spf.fail"}},
		{"", "[keys.selectors]\nrsa = [\"a\", \"b\", \"c\"]", []string{"keys.selectors"}},
		{"[publish.domain.\"a.example\"]\nmethod = \"manual\"", "[dmarc.domain.\"a.example\"]\nreject = \"never\"", []string{"dmarc.domain", "publish.domain"}},
		{"", "[[deny]]\nnetwork = \"192.0.2.1\"\ncomment = \"x\"\nexpires = 2027-01-01", []string{"deny"}},
	} {
		for _, text := range []string{c.before, c.after} {
			if _, err := Parse("x", []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		if got := Changed([]byte(c.before), []byte(c.after)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q to %q: %q, want %q", c.before, c.after, got, c.want)
		}
	}
}
