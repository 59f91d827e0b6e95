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
		before, err1 := Parse("x", []byte(c.before))
		after, err2 := Parse("x", []byte(c.after))
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if got := Changed(before, after); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q to %q: %q, want %q", c.before, c.after, got, c.want)
		}
	}
}
