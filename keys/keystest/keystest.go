// Package keystest provides an in-memory DNS for tests of the life cycle of keys. [DNS] implements [keys.Authority] and [keys.Publisher]:
//
//	d, err := keystest.New(map[string]string{"example.org.": zoneText})
//	checker := &keys.Checker{Authority: d}
package keystest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	miekg "github.com/miekg/dns"

	"signpost/internal/dns"
	"signpost/internal/domain"
	"signpost/keys"
)

// Record holds the TXT records of a name.
type Record struct {
	Texts []string
	TTL   time.Duration
}

// DNS holds zones with their name servers and a resolver without a cache. Publish changes the zones of the primaries.
type DNS struct {
	mu      sync.Mutex
	zones   map[string]*zone  // by name, without a final dot
	aliases map[string]Record // names of CNAME records; the text is the target
	failure error             // of Publish
	down    map[string]error  // the errors of queries to name servers, by the name of the server
	lagging map[string]map[string]Record
}

type zone struct {
	records map[string]Record // by name
	servers []dns.NameServer
	minimum time.Duration // of the SOA
	static  bool          // refuses updates
}

// New returns a DNS with zones. The map has the text of a zone file for each zone name. A zone whose text contains "; static" refuses
// updates.
func New(zones map[string]string) (*DNS, error) {
	d := &DNS{zones: map[string]*zone{}, aliases: map[string]Record{}, down: map[string]error{}, lagging: map[string]map[string]Record{}}
	for name, text := range zones {
		z := &zone{records: map[string]Record{}, static: strings.Contains(text, "; static")}
		d.zones[strings.TrimSuffix(name, ".")] = z
		addrs := map[string]netip.Addr{}
		var servers []string
		parser := miekg.NewZoneParser(strings.NewReader(text), name, "")
		for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
			owner, ttl := domain.Fold(rr.Header().Name), time.Duration(rr.Header().Ttl)*time.Second
			switch rr := rr.(type) {
			case *miekg.SOA:
				z.minimum = min(ttl, time.Duration(rr.Minttl)*time.Second)
			case *miekg.NS:
				servers = append(servers, domain.Fold(rr.Ns))
			case *miekg.A:
				addrs[owner], _ = netip.AddrFromSlice(rr.A)
			case *miekg.CNAME:
				d.aliases[owner] = Record{[]string{domain.Fold(rr.Target)}, ttl}
			case *miekg.TXT:
				z.records[owner] = Record{append(z.records[owner].Texts, strings.Join(rr.Txt, "")), ttl}
			}
		}
		if err := parser.Err(); err != nil {
			return nil, err
		}
		for _, s := range servers {
			z.servers = append(z.servers, dns.NameServer{Name: s, Addr: netip.AddrPortFrom(addrs[s].Unmap(), 53)})
		}
	}
	return d, nil
}

func (d *DNS) zoneOf(name string) *zone {
	for {
		if z := d.zones[name]; z != nil {
			return z
		}
		_, above, ok := strings.Cut(name, ".")
		if !ok {
			return nil
		}
		name = above
	}
}

// end follows the aliases of a name. It returns the aliases and the last name.
func (d *DNS) end(name string) (hops []string, last string, err error) {
	for last = domain.Fold(name); d.aliases[last].Texts != nil; last = d.aliases[last].Texts[0] {
		if slices.Contains(hops, last) {
			return nil, "", fmt.Errorf("%s: CNAME loop", name)
		}
		hops = append(hops, last)
	}
	return hops, last, nil
}

// Query implements keys.Authority.
func (d *DNS) Query(ctx context.Context, name string) (a dns.Answers, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	hops, last, err := d.end(name)
	z := d.zoneOf(last)
	if err == nil && z == nil {
		err = errors.New("no name server is known for " + name)
	}
	if err = errors.Join(err, ctx.Err()); err != nil {
		return a, err
	}
	a.NegativeTTL = z.minimum
	for _, hop := range hops {
		h := dns.Hop{Name: hop + ".", Target: d.aliases[hop].Texts[0] + ".", Servers: d.zoneOf(hop).servers}
		a.AliasTTL = max(a.AliasTTL, d.aliases[hop].TTL)
		a.Hops = append(a.Hops, h)
		var all []dns.Served
		for _, s := range h.Servers {
			served := dns.Served{Server: s, Err: d.down[s.Name]}
			if _, lags := d.lagging[s.Name]; served.Err == nil && !lags {
				served.Target = h.Target
			}
			all = append(all, served)
		}
		a.Aliases = append(a.Aliases, all)
	}
	for _, s := range z.servers {
		served := dns.Served{Server: s, Err: d.down[s.Name]}
		if served.Err == nil {
			records := z.records
			if old, lags := d.lagging[s.Name]; lags {
				records = old
			}
			served.Text, served.TTL = records[last].Texts, records[last].TTL
		}
		a.Text = append(a.Text, served)
	}
	return a, nil
}

// LookupTXT implements keys.Authority. It returns the TXT records that the primary has.
func (d *DNS) LookupTXT(_ context.Context, name string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, last, err := d.end(name)
	z := d.zoneOf(last)
	if err != nil || z == nil {
		return nil, err
	}
	return slices.Clone(z.records[last].Texts), nil
}

// Records returns all TXT records of a zone by name, and the zone's negative TTL.
func (d *DNS) Records(zone string) (map[string]Record, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.zones[zone].records), d.zones[zone].minimum
}

// Set replaces the TXT records of a name. If texts is empty, it removes them.
func (d *DNS) Set(name string, ttl time.Duration, texts ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if z := d.zoneOf(domain.Fold(name)); len(texts) > 0 {
		z.records[domain.Fold(name)] = Record{texts, ttl}
	} else {
		delete(z.records, domain.Fold(name))
	}
}

// Fail sets the error that Publish returns. With nil, Publish succeeds.
func (d *DNS) Fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failure = err
}

// Down sets the error that queries to a name server return. With nil, the server answers.
func (d *DNS) Down(server string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down[server] = err
}

// Lag makes a name server return the current records until Sync is called.
func (d *DNS) Lag(server, zone string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lagging[server] = maps.Clone(d.zones[zone].records)
}

// Sync ends the effect of Lag.
func (d *DNS) Sync(server string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.lagging, server)
}

// Publish implements keys.Publisher, with the preconditions of publish.Update.
func (d *DNS) Publish(ctx context.Context, c keys.Change) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, name, err := d.end(c.Name)
	z := d.zoneOf(name)
	switch {
	case err != nil:
		return err
	case z == nil || z.static:
		return fmt.Errorf("updating %s: REFUSED", c.Name)
	case d.failure != nil:
		return fmt.Errorf("updating %s: %w", c.Name, d.failure)
	}
	if c.Action == keys.Remove {
		delete(z.records, name)
		return ctx.Err()
	}
	if has := z.records[name].Texts; c.Action == keys.Add && has != nil && !slices.Equal(has, []string{c.Text}) {
		return fmt.Errorf("updating %s: %s already has another TXT record", c.Name, c.Name)
	}
	z.records[name] = Record{[]string{c.Text}, time.Duration(c.TTL) * time.Second}
	return ctx.Err()
}
