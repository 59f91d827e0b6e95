package traffic

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"signpost/internal/soak/judge"
)

func sites() Site {
	return Site{Hosts: []Host{{"a", "mx.a.example", []string{"a1.example", "a2.example"}}, {"b", "mx.b.example", []string{"b1.example"}}}, Now: time.Now}
}

// go-msgauth verifies the signatures of mail of other sites where the right result is pass, and no aligned one where it is not.
func TestGenerator(t *testing.T) {
	g, err := New(1, sites())
	if err != nil {
		t.Fatal(err)
	}
	records := map[string]string{}
	for line := range strings.Lines(g.Zone()) {
		name, text, _ := strings.Cut(line, ". IN TXT ")
		records[name] = strings.ReplaceAll(strings.Trim(strings.TrimSpace(text), `"`), `" "`, "")
	}
	lookup := func(name string) ([]string, error) {
		if r, ok := records[name]; ok {
			return []string{r}, nil
		}
		return nil, errors.New("no record")
	}
	n := map[judge.Class]int{}
	for range 2000 {
		m := g.Next()
		n[m.Class]++
		if !strings.Contains(string(m.Text), "\r\n"+judge.IDField+": "+m.ID+"\r\n") || strings.Contains(strings.ReplaceAll(string(m.Text), "\r\n", ""), "\n") {
			t.Fatalf("%q", m.Text)
		}
		found, err := dkim.VerifyWithOptions(strings.NewReader(string(m.Text)), &dkim.VerifyOptions{LookupTXT: lookup})
		if err != nil {
			t.Fatalf("%v\n%q", err, m.Text)
		}
		best := "none"
		for _, v := range found {
			if v.Err == nil {
				best = "pass"
			} else if best == "none" {
				best = "fail"
			}
		}
		if want, ok := m.Want.Results["dkim"]; ok && m.Class != judge.User && best != want {
			t.Errorf("%s %s: %s, want %s\n%s", m.Class, m.ID, best, want, m.Text)
		}
	}
	for class, share := range Shares() {
		if got := n[class] / 20; got < share-5 || got > share+5 {
			t.Errorf("%s: %d %%, want %d %%", class, got, share)
		}
	}
}

// One seed makes the same mail, another seed other mail.
func TestSeed(t *testing.T) {
	begin := time.Now()
	texts := func(seed uint64) (all string) {
		s := sites()
		s.Now = func() time.Time { return begin }
		g, err := New(seed, s)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			m := g.Next()
			text := string(m.Text)
			_, after, _ := strings.Cut(text, "\r\nFrom: ") // signatures differ, because the keys do
			all += m.Sender + after
		}
		return all
	}
	if first, again := texts(1), texts(1); first != again || first == texts(2) {
		t.Error("the seed does not determine the mail")
	}
}
