package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// View is how one message asks: what it was told once it is told again, TTL 0 or not, so that its parts are judged by the
// same records; and what it may ask is counted. It is safe for concurrent use.
type View struct {
	shared *shared
	budget *int // guarded by shared.mu; nil: no bound of its own
}

type shared struct {
	resolver *Resolver

	mu      sync.Mutex
	memo    map[question]*answer
	lookups []asked
	busy    int       // look-ups under way
	since   time.Time // when busy left 0
	spent   time.Duration
}

// Lookup is one question of a message and its answer, for a person who reads along.
type Lookup struct {
	Name      string        `json:"name"`
	Type      string        `json:"type"`
	Answer    string        `json:"answer"`
	Authentic bool          `json:"authentic,omitempty"` // the resolver says that DNSSEC proves it
	Cached    bool          `json:"cached,omitempty"`
	Took      time.Duration `json:"took"` // nanoseconds
}

// asked is a Lookup before anybody wants to read it: the daemon asks far more than it shows, and answers are long.
type asked struct {
	name   string
	qtype  uint16
	answer *answer
	cached bool
	took   time.Duration
}

// View gives a message its view.
func (r *Resolver) View() *View {
	return &View{shared: &shared{resolver: r, memo: map[question]*answer{}}}
}

// Limit is the same view with room for n more different questions. Beyond them every answer is a temporary error. Whether
// an answer was in the cache makes no difference, so that a verdict does not depend on what others asked before.
func (v *View) Limit(n int) *View { return &View{shared: v.shared, budget: &n} }

// Lookups are all questions so far.
func (v *View) Lookups() []Lookup {
	v.shared.mu.Lock()
	defer v.shared.mu.Unlock()
	var all []Lookup
	for _, a := range v.shared.lookups {
		all = append(all, Lookup{Name: a.name, Type: dns.TypeToString[a.qtype], Answer: a.answer.String(), Authentic: a.answer.authentic, Cached: a.cached, Took: a.took})
	}
	return all
}

// Spent is how many questions there were and how long at least one of them was open.
func (v *View) Spent() (queries int, open time.Duration) {
	s := v.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	open = s.spent
	if s.busy > 0 {
		open += time.Since(s.since)
	}
	return len(s.lookups), open
}

func (v *View) lookup(ctx context.Context, name string, qtype uint16) *answer {
	s := v.shared
	full, err := canonical(name)
	q := question{full, qtype}
	if err != nil {
		// RFC 7208 section 4.8: a name that cannot be looked up is one that does not exist.
		return &answer{absent: true, err: &net.DNSError{Err: err.Error(), Name: name, IsNotFound: true}}
	}
	s.mu.Lock()
	if a, ok := s.memo[q]; ok {
		s.mu.Unlock()
		return a
	}
	if v.budget != nil {
		if *v.budget == 0 {
			s.mu.Unlock()
			return failed(q, "the message has asked for too much", true)
		}
		*v.budget--
	}
	start := time.Now()
	if s.busy == 0 {
		s.since = start
	}
	s.busy++
	s.mu.Unlock()

	a, cached := s.resolver.lookup(ctx, q)

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy--; s.busy == 0 {
		s.spent += time.Since(s.since)
	}
	if known, ok := s.memo[q]; ok {
		a = known // another part of the message asked at the same time
	} else if ctx.Err() == nil {
		s.memo[q] = a
	}
	s.lookups = append(s.lookups, asked{name, qtype, a, cached, time.Since(start)})
	return a
}

// canonical gives a name in the one spelling in which names are compared, or an error where no DNS name can be so.
func canonical(name string) (string, error) {
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return "", errors.New("an empty name")
	}
	// Everything but dots stands for itself: SPF macros bring in whatever a stranger says.
	text := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "(", `\(`, ")", `\)`, ";", `\;`, " ", `\ `, "@", `\@`).Replace(name) + "."
	if strings.Contains("."+name, "..") {
		return "", errors.New("not a domain name")
	}
	return respell(text)
}

// respell brings a name in any zone-file spelling into the one that the library reads from the wire, in lower case.
func respell(text string) (string, error) {
	var wire [256]byte
	n, err := dns.PackDomainName(text, wire[:], 0, nil, false)
	if err != nil || n > 255 {
		return "", errors.New("not a domain name")
	}
	back, _, err := dns.UnpackDomainName(wire[:n], 0)
	if err != nil {
		return "", errors.New("not a domain name")
	}
	return dns.CanonicalName(back), nil
}

func (a *answer) error() error {
	if a.err == nil {
		return nil
	}
	e := *a.err // each caller may change its own
	return &e
}

// LookupTXT gives the TXT records of a name, the strings of each joined.
func (v *View) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a := v.lookup(ctx, name, dns.TypeTXT)
	return a.text, a.error()
}

// LookupMX gives the MX records of a name.
func (v *View) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	a := v.lookup(ctx, name, dns.TypeMX)
	return a.mx, a.error()
}

// LookupA gives the IPv4 addresses of a name.
func (v *View) LookupA(ctx context.Context, name string) ([]netip.Addr, error) {
	a := v.lookup(ctx, name, dns.TypeA)
	return a.addrs, a.error()
}

// LookupAAAA gives the IPv6 addresses of a name.
func (v *View) LookupAAAA(ctx context.Context, name string) ([]netip.Addr, error) {
	a := v.lookup(ctx, name, dns.TypeAAAA)
	return a.addrs, a.error()
}

// LookupAddr gives the names of an address, unverified.
func (v *View) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	name, err := dns.ReverseAddr(addr)
	if err != nil {
		return nil, &net.DNSError{Err: "not an address", Name: addr, IsNotFound: true}
	}
	a := v.lookup(ctx, name, dns.TypePTR)
	return a.names, a.error()
}

// Exists says whether there is such a name, with records of any type or with names below it: RFC 8020.
func (v *View) Exists(ctx context.Context, name string) (bool, error) {
	a := v.lookup(ctx, name, dns.TypeTXT)
	if a.err != nil && !a.err.IsNotFound {
		return false, a.error()
	}
	return !a.absent, nil
}
