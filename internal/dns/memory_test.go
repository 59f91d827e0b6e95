package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// A policy is remembered for 7 days beyond its TTL, even if lookups fail in any way. It is forgotten when the owner no longer publishes a
// policy.
func TestRemembered(t *testing.T) {
	const day = 24 * time.Hour
	const policy = `_dmarc.a.example. 3600 IN TXT "v=DMARC1; p=reject"` + "\n"
	for _, c := range []struct {
		what, zone, next string // next is a zone, or an Rcode, or "" for no answer
		name             string
		after            time.Duration
		want             string
	}{
		{"at once", policy, "", "_DMARC.A.example.", 0, `["v=DMARC1; p=reject"]`},
		{"no answer", policy, "", "_dmarc.a.example", 7 * day, `["v=DMARC1; p=reject"]`},
		{"SERVFAIL", policy, "SERVFAIL", "_dmarc.a.example", 7 * day, `["v=DMARC1; p=reject"]`},
		{"after 7 days and the TTL", policy, "", "_dmarc.a.example", 7*day + time.Hour, "[]"},
		{"the name is gone", policy, "b.example. IN TXT x", "_dmarc.a.example", 2 * time.Hour, "[]"},
		{"the record is gone", policy, "_dmarc.a.example. IN A 192.0.2.1", "_dmarc.a.example", 2 * time.Hour, "[]"},
		{"the record is another one", policy, `_dmarc.a.example. IN TXT "v=DMARC1; p=none"`, "_dmarc.a.example", 2 * time.Hour, `["v=DMARC1; p=none"]`},
		{"the record is no longer a policy", policy, `_dmarc.a.example. IN TXT "v=spf1 -all"`, "_dmarc.a.example", 2 * time.Hour, "[]"},
		{"TTL 0", strings.Replace(policy, "3600", "0", 1), "", "_dmarc.a.example", 7*day - 1, `["v=DMARC1; p=reject"]`},
		{"an alias", "_dmarc.a.example. CNAME x.example.\nx.example. TXT \"v=DMARC1; p=reject\"", "", "_dmarc.a.example", 2 * time.Hour, `["v=DMARC1; p=reject"]`},
		{"several records", policy + "_dmarc.a.example. 3600 TXT verification=1\n_dmarc.a.example. 3600 TXT \"v = DMARC1 ;p=none\"", "", "_dmarc.a.example", 0,
			`["v=DMARC1; p=reject" "v = DMARC1 ;p=none"]`},
		{"no policy", `_dmarc.a.example. IN TXT "v=DMARC10; p=reject"`, "", "_dmarc.a.example", 0, "[]"},
		{"another name", `a.example. IN TXT "v=DMARC1; p=reject"`, "", "a.example", 0, "[]"},
		{"too long", `_dmarc.a.example. IN TXT "v=DMARC1; p=reject"` + strings.Repeat(` "`+strings.Repeat("x", 250)+`"`, 9), "", "_dmarc.a.example", 0, "[]"},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				z := zone(t, c.zone)
				r := fake(func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
					switch {
					case z != nil:
						return z.Answer(q), nil
					case c.next == "":
						return nil, errors.New("unplugged")
					}
					return new(dns.Msg).SetRcode(q, dns.StringToRcode[c.next]), nil
				})
				_, _ = r.View(netip.Addr{}).LookupTXT(t.Context(), c.name)
				z = nil
				if strings.Contains(c.next, " ") {
					z = zone(t, c.next)
				}
				time.Sleep(c.after)
				v := r.View(netip.Addr{})
				_, _ = v.LookupTXT(t.Context(), c.name)
				for _, view := range []*View{v, v.Limit(0), v.Until(time.Now()), v.Known(), v.Reserved()} {
					if got := fmt.Sprintf("%q", view.Remembered(c.name)); got != c.want {
						t.Errorf("%s, want %s", got, c.want)
					}
				}
				if got := Recall(v.Answered().Lookups()).Remembered(c.name); got != nil {
					t.Errorf("a view of Recall remembers %q", got)
				}
			})
		})
	}
}

// The memory is limited. If many other names are looked up, the policies that are in use are kept, even if their answers come from the
// cache.
func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := zone(t, "_dmarc.used.example. 86400 IN TXT \"v=DMARC1; p=reject\"")
		r := fake(func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
			if q.Question[0].Name == "_dmarc.used.example." {
				return z.Answer(q), nil
			}
			m := new(dns.Msg).SetReply(q)
			m.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}, Txt: []string{"v=DMARC1; p=none"}}}
			return m, nil
		})
		r.policies.max = 20_000
		for i := range 1000 {
			_, _ = r.View(netip.Addr{}).LookupTXT(t.Context(), "_dmarc.used.example")
			_, _ = r.View(netip.Addr{}).LookupTXT(t.Context(), fmt.Sprintf("_dmarc.n%d.example", i))
			time.Sleep(useInterval / 10) // the limit is about 50 names
		}
		if p := &r.policies; p.size > p.max || p.size < p.max/2 || len(p.entries) != p.order.Len() {
			t.Errorf("%d bytes in %d entries", p.size, len(p.entries))
		}
		v := r.View(netip.Addr{})
		if v.Remembered("_dmarc.used.example") == nil || v.Remembered("_dmarc.n0.example") != nil {
			t.Error("the name in use was forgotten before an unused one")
		}
	})
}

// If the limit of a message prevents a lookup, the lookup returns a temporary error. OverLimit distinguishes this error from others.
func TestOverLimit(t *testing.T) {
	v := zone(t, "a. 60 IN TXT a").Resolver(time.Now, slog.New(slog.DiscardHandler)).View(netip.Addr{})
	_, err := v.Limit(0).LookupTXT(t.Context(), "a")
	if !OverLimit(err) || !OverLimit(fmt.Errorf("looking up: %w", err)) || kindOf(err) != "temporary" || !err.(interface{ Temporary() bool }).Temporary() {
		t.Errorf("%#v", err)
	}
	for _, view := range []*View{v.Known(), v.Until(time.Unix(1, 0))} {
		if _, err := view.LookupTXT(t.Context(), "a"); err == nil || OverLimit(err) {
			t.Errorf("another temporary error: %#v", err)
		}
	}
	if _, err := v.LookupTXT(t.Context(), "none"); OverLimit(err) || OverLimit(nil) {
		t.Error("there is no such name", err)
	}
}
