package authres

import (
	"fmt"
	"strings"
	"testing"
)

func TestFormat(t *testing.T) {
	got := Format("mx.example.org", []Result{
		{Method: "iprev", Value: "pass", Props: []Prop{{"policy", "iprev", "2001:db8::1"}}},
		{Method: "spf", Value: "pass", Props: []Prop{{"smtp", "mailfrom", "example.com"}}},
		{Method: "dkim", Value: "fail", Reason: `a "quoted" \ reason`, Props: []Prop{{"header", "d", "example.com"}, {"header", "s", "key"}, {"header", "a", "rsa-sha256"}, {"header", "b", "dB/+q1=x"}}},
		{Method: "dmarc", Value: "pass", Props: []Prop{{"header", "from", "example.com"}, {"policy", "dmarc", "reject"}}},
	})
	want := ` mx.example.org;
	iprev=pass policy.iprev="2001:db8::1";
	spf=pass smtp.mailfrom=example.com;
	dkim=fail reason="a 'quoted' ? reason" header.d=example.com
	header.s=key header.a=rsa-sha256 header.b="dB/+q1=x";
	dmarc=pass header.from=example.com policy.dmarc=reject`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := Format("mx.example.org", nil); got != " mx.example.org; none" {
		t.Errorf("%q", got)
	}
}

// parse is a strict parser of RFC 8601 section 2.2 for this test: it returns the id, and "method=value reason props" for each result.
func parse(s string) (id string, results []string, err error) {
	s = strings.ReplaceAll(s, "\n\t", " ")
	var words []string
	word, quoted, inWord := "", false, false
	end := func() {
		if inWord {
			words = append(words, word)
		}
		word, inWord = "", false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c < ' ' || c == 0x7f:
			return "", nil, fmt.Errorf("control character %#x", c)
		case quoted && c == '\\':
			i++
			word += string(s[i])
		case c == '"':
			quoted, inWord = !quoted, true
		case quoted:
			word += string(c)
		case c == ' ':
			end()
		case c == ';':
			end()
			words = append(words, ";")
		case strings.IndexByte("()<>@,:[]?/\\", c) >= 0:
			return "", nil, fmt.Errorf("%q outside quotes", c)
		default:
			word, inWord = word+string(c), true
		}
	}
	if quoted {
		return "", nil, fmt.Errorf("open quote")
	}
	end()
	if len(words) < 3 || words[1] != ";" {
		return "", nil, fmt.Errorf("no results in %q", words)
	}
	for result := range strings.SplitSeq(strings.Join(words[2:], "\x00"), "\x00;\x00") {
		results = append(results, result)
	}
	return words[0], results, nil
}

// For any names that a sender chooses, a strict parser finds our two results and nothing else in the field. internal/filter does the same
// test with parsers of other programs.
func FuzzRoundTrip(f *testing.F) {
	f.Add("mx.example.org", "a@b", "reason")
	f.Add("mx", `x"; dmarc=pass header.from=bank.example`, "\r\n\tdmarc=pass")
	f.Add("mx", `\`, `\"`)
	f.Add("mx", "\x00ü\xff", "\x00")
	f.Add("mx", strings.Repeat("ü", 200), strings.Repeat("\\", 300))
	f.Fuzz(func(t *testing.T, id, value, reason string) {
		if clean(id) != id || id == "" || strings.Contains(id, ";") {
			return // not a valid authserv-id of a configuration
		}
		field := Format(id, []Result{
			{Method: "spf", Value: "pass", Reason: reason, Props: []Prop{{"smtp", "mailfrom", value}}},
			{Method: "dmarc", Value: "fail", Props: []Prop{{"header", "from", value}, {"policy", "dmarc", "none"}}},
		})
		for line := range strings.SplitSeq(field, "\n") {
			if len(line) > 998 {
				t.Fatalf("a line of %d bytes", len(line))
			}
		}
		for i := range len(field) {
			if c := field[i]; c >= 0x7f || c < ' ' && c != '\n' && c != '\t' {
				t.Fatalf("a byte %#x", c)
			}
		}
		readID, results, err := parse(field)
		if err != nil {
			t.Fatalf("%q: %v", field, err)
		}
		spf, dmarc := "spf=pass", "dmarc=fail\x00header.from="+clean(value)+"\x00policy.dmarc=none"
		if r := clean(reason); r != "" {
			spf += "\x00reason=" + r
		}
		spf += "\x00smtp.mailfrom=" + clean(value)
		if want := strings.Join([]string{spf, dmarc}, "\x00;\x00"); readID != id || strings.Join(results, "\x00;\x00") != want {
			t.Fatalf("%q: read %q %q, want %q", field, readID, results, want)
		}
	})
}
