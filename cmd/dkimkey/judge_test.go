package main

import (
	"slices"
	"strings"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/dns"
	"signpost/keys"
)

// inTransit is how long mail is in transit: five days in a queue, and seven days of x=.
const inTransit = 12 * 24 * time.Hour

// judge makes the daemon of a host sign a message of each domain, and verifies it with the records that each name server has now. It does
// not use any state of the cluster.
func (s *site) judge(m *member) {
	s.Helper()
	if m.off {
		return
	}
	m.watcher.Reload()
	snap := m.watcher.Current()
	for domain, since := range s.domains {
		if since.After(s.now()) || m.since.Equal(s.now()) && len(snap.Set.Of(domain)) == 0 {
			continue
		}
		signing := snap.Set.Signing(domain)
		if len(signing) == 0 {
			s.Errorf("%s: %s: nothing signs for %s: %s", s.at(), m.name, domain, m.must("status"))
		}
		for _, k := range signing {
			s.signs(m, domain, k)
		}
	}
}

// signs verifies a signature of a key.
func (s *site) signs(m *member, domain string, k dkim.Key) {
	s.Helper()
	record, err := dkim.FormatKeyRecord(k.Signer.Public())
	if err != nil {
		s.Fatal(err)
	}
	id := domain + " " + k.Selector + " " + record
	s.signed[id] = true
	mail := s.world.mail[id]
	if mail.text == nil {
		mail = message{text: s.world.sign(k), domain: domain, selector: k.Selector}
	}
	mail.until = s.now().Add(inTransit)
	s.world.mail[id] = mail
	answers, err := s.dns.Query(s.Context(), keys.RecordName(domain, k.Selector))
	if err != nil {
		s.Fatal(err)
	}
	if at, leaked := s.leaked[domain+" "+k.Selector]; leaked {
		switch shown := slices.ContainsFunc(answers.Text, func(a dns.Served) bool { return slices.Contains(a.Text, record) }); {
		case shown: // by a late secondary
			s.leaked[domain+" "+k.Selector] = s.now()
		case s.now().Sub(at) > 2*s.step+time.Hour: // the daemon switches to another key at its second check
			s.Errorf("%s: %s still signs for %s with the compromised key %s", s.at(), m.name, domain, k.Selector)
		}
		return
	}
	for _, served := range answers.Text {
		if served.Err != nil {
			continue
		}
		if err := s.world.verifies(id, mail, strings.Join(served.Text, "")); err != nil {
			s.Errorf("%s: %s signs for %s with %s, and %s has %q: %v", s.at(), m.name, domain, k.Selector, served.Server.Name, served.Text, err)
		}
	}
}

// deliver verifies all mail in transit with the records of this moment, and with the answers that caches still have.
func (s *site) deliver() {
	s.Helper()
	s.world.look(s.now())
	for id := range s.world.mail {
		fields := strings.Fields(id)
		if _, leaked := s.leaked[fields[0]+" "+fields[1]]; leaked {
			s.world.exempt[id] = true
		}
	}
	s.world.verify(s.now())
}
