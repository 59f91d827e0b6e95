package journal

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
)

// An entry of either version is an error, or an entry that is written and read again without a change. Damaged bytes are an error.
func FuzzDecode(f *testing.F) {
	c := newCodec()
	for _, seed := range []string{
		`{"time":"2026-11-01T10:00:00Z","v":2,"code":"dmarc_pass","role":"verify","action":"accept","reasons":[{"code":"dmarc_pass","domain":"a.example"}],"client":"192.0.2.1","header_from":["a.example"],"spf":{"status":"pass"},"dkim":[{"status":"fail","cause":"x"}],"lookups":[{"name":"a.example.","type":"TXT","status":"NOERROR","records":["v=spf1"]}]}`,
		`{"assignment":{"role":"refuse","reason":"x","reply":{"Code":550}},"evidence":{"author":{"domains":[],"doubt":"several"},"dmarc":[{"Aligned":"DKIM a.example","reason":""}]},"verdict":{"reason":"y"},"selectors":"a,b","spent":1,"lookups":[{"name":"x","type":"MX","answer":"10 a; 20 b","took":5}]}`,
		`{"assignment":{"role":"sign","reason":"the login may not use this domain"},"done":"refuse","verdict":{"evidence":["z"],"override":"x"}}`, `{}`, `null`,
	} {
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, text []byte, at int) {
		old := c.old.Encode(nil, text)
		for _, packed := range [][]byte{c.compress(text), old} {
			e, err := c.decode(bytes.Clone(packed))
			if err != nil {
				continue
			}
			// The first round may round a time.
			var texts [2]string
			again := e
			for i := range texts {
				packed, err := c.encode(&again)
				if err != nil {
					return // a time of a year that RFC 3339 does not have
				}
				texts[i] = string(c.text)
				if again, err = c.decode(bytes.Clone(packed)); err != nil {
					t.Fatalf("%s: %v", text, err)
				}
			}
			if second, err := c.marshal(&again); err != nil || string(second) != texts[1] {
				t.Errorf("%s\nis read again as\n%s\n%v", texts[1], second, err)
			}
			_ = again.Outcome()
			_ = again.Domain()
		}
		damaged := bytes.Clone(c.compress(text))
		damaged[len(magic)+1+int(uint(at)%uint(len(damaged)-len(magic)-1))] ^= 1
		if e, err := c.decode(damaged); err == nil {
			if same, _ := unpack(c.dictionary, damaged[len(magic)+5:]); !bytes.Equal(same, text) { // two packed forms of the same text
				t.Errorf("damaged %s is read as %+v", text, e)
			}
		}
		_, _ = c.decode(text) // not packed
		if n, err := s2.DecodedLen(text); err == nil && n > maxDecoded {
			if _, err := unpack(c.old, text); err == nil {
				t.Errorf("an entry of %d bytes is unpacked", n)
			}
		}
	})
}

// An error of a query names the field. A query without an error selects messages by the fields that are set, in the time that they name.
func FuzzQuery(f *testing.F) {
	f.Add("example.org", "192.0.2.0/24", "<>", "ann@example.org", "ann", "7d", "2026-11-30", "dmarc_fail", "reject", "fail")
	f.Add("bücher.example", "2001:db8::1%eth0", "@example.org", "ann@[192.0.2.1]", "\x00", "99999999d", "1h", "x", "", "")
	f.Add("", "", "a@b@c", "\"a b\"@example.org", "@", "-1h", "2026-02-30", "", "sign", "none")
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, domain, client, sender, rcpt, login, since, until, code, action, spf string) {
		q := Query{Domain: domain, Client: client, MailFrom: sender, Rcpt: rcpt, Login: login, Since: since, Until: until, Code: code}
		if action != "" {
			q.Action = []string{action}
		}
		if spf != "" {
			q.SPF = []string{spf}
		}
		filter, err := q.Filter(now)
		if err != nil {
			named := false
			for _, name := range []string{"domain", "client", "mail-from", "rcpt", "login", "since", "until", "code", "action", "spf"} {
				named = named || strings.HasPrefix(err.Error(), name+" ") || strings.HasPrefix(err.Error(), name+":")
			}
			if !named {
				t.Errorf("no field in %q", err)
			}
			return
		}
		if filter.Since.After(now) && !strings.ContainsAny(since, "-") || filter.Domain == "" && domain != "" || filter.Client.IsValid() != (client != "") || filter.Client != filter.Client.Masked() ||
			filter.Sender.any() != (sender == "") || filter.Recipient.any() != (rcpt == "") || filter.Login.any() != (login == "") || string(filter.Code) != code {
			t.Errorf("%+v: %+v", q, filter)
		}
		if (filter.Outcome == nil) != (action+spf == "") || filter.Outcome != nil && filter.Outcome(Outcome{Action: "other", SPF: "other"}) {
			t.Errorf("%+v selects another outcome", q)
		}
	})
}
