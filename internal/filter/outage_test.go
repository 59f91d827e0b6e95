package filter

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	miekg "github.com/miekg/dns"

	"signpost/internal/dns"
	"signpost/internal/domain"
	"signpost/milter"
)

// outage is a name server for a zone. It answers SERVFAIL for certain names and for all names below them. "." stands for all names,
// including the root.
type outage struct {
	zone  *dns.Zone
	names []string
}

func (o *outage) ask(_ context.Context, q *miekg.Msg) (*miekg.Msg, error) {
	name := strings.TrimSuffix(q.Question[0].Name, ".")
	for _, n := range o.names {
		if n == "." || domain.Within(name, n) {
			return new(miekg.Msg).SetRcode(q, miekg.RcodeServerFailure), nil
		}
	}
	return o.zone.Answer(q), nil
}

// While a policy cannot be looked up, an earlier answer applies for 7 days beyond its TTL. Without an earlier answer, the message is
// accepted, unless the root does not answer either.
func TestOutages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone, err := dns.ParseZone(strings.NewReader("_dmarc.example.com. 600 TXT \"v=DMARC1; p=reject\"\nexample.com. 600 TXT \"v=spf1 ip4:192.0.2.1 -all\"\n"+
			"_dmarc.quarantine.example. 600 TXT \"v=DMARC1; p=quarantine\"\n_dmarc.none.example. 600 TXT \"v=DMARC1; p=none\"\n"), "zone")
		if err != nil {
			t.Fatal(err)
		}
		server := &outage{zone: zone}
		f := newFilter(t, "")
		f.Resolver = dns.New(dns.Options{Ask: server.ask, Timeout: 10 * time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		reply := func(client, author string) string {
			m := f.Begin(t.Context(), milter.Session{MTA: "mx", SMTP: true, Client: netip.MustParseAddr(client)}, milter.Envelope{Sender: author})
			m.Header("From", " "+author)
			m.EndHeaders("Q")
			edits, reply := m.Finish(t.Context())
			switch {
			case reply.Code != 0:
				return reply.Enhanced
			case len(edits.Insert) > 1:
				return "tagged"
			}
			return "accepted"
		}
		const genuine, forger = "192.0.2.1", "203.0.113.9"
		check := func(when string, want map[string]string) {
			t.Helper()
			for author, want := range want {
				client := forger
				if author, own := strings.CutPrefix(author, "genuine "); own {
					client = genuine
					if got := reply(client, author); got != want {
						t.Errorf("%s: %s from %s: %s, want %s", when, author, client, got, want)
					}
					continue
				}
				if got := reply(client, author); got != want {
					t.Errorf("%s: %s: %s, want %s", when, author, got, want)
				}
			}
		}
		all := map[string]string{"ann@example.com": "5.7.1", "genuine ann@example.com": "accepted", "ann@quarantine.example": "tagged", "ann@none.example": "accepted"}
		check("all names answer", all)

		time.Sleep(24 * time.Hour)
		server.names = []string{"_dmarc.example.com", "_dmarc.quarantine.example", "_dmarc.none.example", "_dmarc.new.example"}
		outage := map[string]string{"ann@example.com": "4.7.1", "genuine ann@example.com": "accepted", "ann@quarantine.example": "tagged", "ann@none.example": "accepted", "ann@new.example": "accepted"}
		check("policies cannot be looked up", outage)
		time.Sleep(5 * 24 * time.Hour)
		check("policies cannot be looked up for 6 days", outage)

		time.Sleep(5 * 24 * time.Hour)
		check("a remembered policy expires", map[string]string{"ann@example.com": "accepted"})

		server.names = []string{"."}
		time.Sleep(time.Minute) // the result of RootAnswers is reused for a few seconds
		check("no name answers", map[string]string{"ann@example.com": "4.4.3", "ann@new.example": "4.4.3"})

		server.names = nil
		time.Sleep(time.Minute)
		check("all names answer again", all)
	})
}
