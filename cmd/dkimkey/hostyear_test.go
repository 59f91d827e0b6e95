package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/testsql"
	"signpost/keys"
)

// Several hosts rotate their keys for a year, with all the faults of disaster. At no time does a host sign with a key whose record is
// not in DNS, or leave the mail of a domain unsigned. go-msgauth judges this with the DNS of that moment.
func TestYearOfHostsMariaDB(t *testing.T) {
	t.Parallel()
	yearOfHosts(t, testsql.MariaDB(t))
}

func TestYearOfHostsPostgreSQL(t *testing.T) {
	if os.Getenv("SIGNPOST_DAYS") == "" {
		t.Skip("takes long; make matrix sets SIGNPOST_DAYS")
	}
	t.Parallel()
	yearOfHosts(t, testsql.PostgreSQL(t))
}

func yearOfHosts(t *testing.T, server *testsql.Server) {
	days, hosts, rules := daysOf(t, 30), 2, "rotate_every = \"4d\"\nkeep_revoked = \"5d\"\n"
	if days > 100 {
		hosts, rules = 5, "rotate_every = \"25d\"\n"
	}
	seed := seedOf(t)
	replay := fmt.Sprintf("SIGNPOST_SEED=%d SIGNPOST_DAYS=%d go test -count=1 -timeout 3h -run '^%s$' ./cmd/dkimkey", seed, days, t.Name())
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("to repeat this test:\n" + replay)
		}
	})
	s := newSite(t, server, seed, rfc2136+both+rules, "example.org", "example.net")
	for i := range hosts {
		m := s.join(string(rune('a' + i)))
		m.skew = time.Duration(s.random.IntN(600)-300) * time.Second
	}
	s.sync()
	for _, domain := range slices.Sorted(maps.Keys(s.world.zones)) {
		s.addDomain(s.members[s.random.IntN(hosts)], domain)
	}
	d := &disaster{site: s, long: days > 100}
	order, next, end := d.order(), 4, 0
	var now *trouble
	for day := range days {
		if now == nil && day >= next && len(order) > 0 {
			now, order = &order[0], order[1:]
			if len(order) == 0 {
				order = d.order()
			}
			if end = day + now.days; end >= days-3 {
				now = nil
			} else {
				s.broken = now.name
				fmt.Fprintf(&s.out, "%s begins\n", s.at())
				now.begin()
			}
		}
		if day == 4 {
			d.backup = s.members[0].files()
		}
		s.day(now)
		if now != nil && day >= end {
			now.end()
			s.sync() // connections that were closed cause errors
			s.broken = ""
			s.same()
			fmt.Fprintf(&s.out, "%s: %s ended\n", s.at(), now.name)
			d.had, now, next = append(d.had, now.name), nil, day+1+days/366
		}
		if now == nil && day%3 == 0 {
			d.operate()
		}
		if t.Failed() {
			t.Fatalf("day %d", day)
		}
	}
	s.same()
	if len(s.signed) < days/8 || len(d.had) < days/10 || days > 100 && (s.revoked == 0 || d.imported == 0) {
		t.Errorf("the test covers too little: %d keys signed, %d faults, %d keys revoked, %d imported", len(s.signed), len(d.had), s.revoked, d.imported)
	}
	fmt.Printf("%s: %d days of %d hosts: %d keys signed, faults: %s\n", server.Name, days, len(s.members), len(s.signed), strings.Join(d.had, "; "))
}

// seedOf returns SIGNPOST_SEED, or the seed of make test.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("SIGNPOST_SEED")
	if text == "" {
		return 20261201
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

// day is one day of all hosts: cron at its beginning, and checks every six hours.
func (s *site) day(f *trouble) {
	s.Helper()
	step := 6 * time.Hour
	if f != nil && f.slow {
		step = 24 * time.Hour
	}
	s.step = step
	if s.random.IntN(4) == 0 {
		s.secondary()
	}
	for n := range int(24 * time.Hour / step) {
		s.pass(step)
		s.sync()
		if n == 0 {
			if f != nil && f.daily != nil {
				f.daily()
			}
			s.cron()
			s.deliver()
			s.sync()
		}
		for _, m := range s.shuffled() {
			m.guard.Check(s.Context())
			s.judge(m)
		}
		s.deliver()
	}
}

// secondary makes the secondary of a zone late, or ends that.
func (s *site) secondary() {
	domain := []string{"example.org", "example.net"}[s.random.IntN(2)]
	if s.random.IntN(2) == 0 {
		s.dns.Lag("ns2."+domain, domain)
	} else {
		s.dns.Sync("ns2.example.org")
		s.dns.Sync("ns2.example.net")
	}
}

// addDomain adds a domain on a host. It must be signed three days later.
func (s *site) addDomain(m *member, domain string) {
	s.Helper()
	s.dns.Sync("ns2." + domain)
	s.command(m, "add", domain)
	s.domains[domain] = s.now().Add(3 * 24 * time.Hour)
}

// operate types a command on a host.
func (d *disaster) operate() {
	d.Helper()
	all := d.shuffled()
	m := all[d.random.IntN(len(all))]
	switch d.random.IntN(6) {
	case 0:
		d.command(m, "rotate", "example.org", "--now")
	case 1:
		d.command(m, "add", "example.net")
	case 2:
		d.compromise(m, "example.org")
	case 3:
		m.restart()
	case 4:
		d.imported++
		name := fmt.Sprint("mail", d.imported)
		file, record := m.foreign(name)
		m.show("example.org", name, record)
		d.command(m, "import", file, "--domain", "example.org", "--selector", name)
	}
}

// compromise revokes a key that signs as compromised, if another key can replace it.
func (s *site) compromise(m *member, domain string) {
	s.Helper()
	for _, at := range s.leaked {
		if s.now().Sub(at) < 5*24*time.Hour { // a host without network may have no other key
			return
		}
	}
	set, err := m.keyStore().Load(nil)
	if err != nil {
		s.Fatal(err)
	}
	signing := set.Signing(domain)
	for _, k := range set.Of(domain) {
		signs := slices.ContainsFunc(signing, func(s dkim.Key) bool { return s.Selector == k.Selector })
		if spare := keys.NewestPending(set.Of(domain), k.Algorithm, ""); !signs || spare == nil || spare.State != keys.Verified {
			continue
		}
		s.leaked[domain+" "+k.Selector] = s.now()
		s.revoked++
		s.command(m, "revoke", domain, k.Selector, "--compromised")
		return
	}
}
