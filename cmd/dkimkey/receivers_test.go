package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"signpost/internal/dkim"
	"signpost/keys"
	"signpost/keys/keystest"
)

// receivers verify the signatures of the daemon. For each name, some receivers made a lookup just before the record changed. They use
// the old answer, which may be negative, until its TTL has passed.
type receivers struct {
	*testing.T
	dns     *keystest.DNS
	watcher *keys.Watcher
	zones   map[string]map[string]answer // the current TXT records, by domain and name
	cached  map[string][]answer          // by name
	mail    map[string]message           // the last message by domain and selector
	results map[string]error             // results of verifications, by selector and record
	exempt  map[string]bool              // domain and selector of keys that have leaked
}

// answer is a TXT record; text is "" if there is none.
type answer struct {
	text  string
	ttl   time.Duration
	until time.Time
}

type message struct {
	text             []byte
	domain, selector string
	until            time.Time
}

func (h *house) newReceivers(domains ...string) *receivers {
	h.Helper()
	store := h.store()
	store.Now = h.env.now
	w, err := keys.Open(store, slog.New(slog.DiscardHandler))
	if err != nil {
		h.Fatal(err)
	}
	r := &receivers{T: h.T, dns: h.dns, watcher: w, zones: map[string]map[string]answer{}, cached: map[string][]answer{},
		mail: map[string]message{}, results: map[string]error{}, exempt: map[string]bool{}}
	for _, domain := range domains {
		r.zones[domain], _ = r.transfer(domain)
	}
	return r
}

// transfer returns the TXT records of a zone, and its negative TTL.
func (r *receivers) transfer(domain string) (all map[string]answer, negative time.Duration) {
	r.Helper()
	records, negative := r.dns.Records(domain)
	all = map[string]answer{}
	for name, record := range records {
		if len(record.Texts) > 1 {
			r.Errorf("%s has two TXT records", name)
		}
		all[name] = answer{text: record.Texts[0], ttl: record.TTL}
	}
	return all, negative
}

// look makes receivers cache the old answer for each record that has changed since the last call.
func (r *receivers) look(now time.Time) {
	r.Helper()
	for domain, before := range r.zones {
		after, negative := r.transfer(domain)
		names := maps.Clone(before)
		maps.Copy(names, after)
		for name := range names {
			old, had := before[name]
			if old.text == after[name].text {
				continue
			}
			if !had {
				old.ttl = negative
			}
			old.until = now.Add(old.ttl)
			r.cached[name] = append(r.cached[name], old)
		}
		r.zones[domain] = after
	}
	for name := range r.cached {
		r.cached[name] = slices.DeleteFunc(r.cached[name], func(a answer) bool { return a.until.Before(now) })
	}
}

// signed returns a message for each key of a Snapshot, signed as the daemon does.
func (r *receivers) signed(snap *keys.Snapshot, domain string, now time.Time) (selectors []string) {
	r.Helper()
	for _, k := range snap.Set.Signing(domain) {
		id := domain + " " + k.Selector
		selectors = append(selectors, k.Selector)
		m := r.mail[id]
		if m.text == nil {
			m = message{text: r.sign(k), domain: domain, selector: k.Selector}
		}
		m.until = now.Add(transitTime)
		r.mail[id] = m
	}
	return selectors
}

func (r *receivers) sign(k dkim.Key) []byte {
	r.Helper()
	fields := []dkim.Field{{Name: "From", Value: " ann@" + k.Domain}, {Name: "Subject", Value: " a year"}}
	// The verifier uses the wall clock.
	s, err := dkim.NewSigner(fields, []dkim.Key{k}, time.Now(), 24*time.Hour)
	if err != nil {
		r.Fatal(err)
	}
	const body = "Hello.\r\n"
	if _, err := s.Write([]byte(body)); err != nil {
		r.Fatal(err)
	}
	signatures, err := s.Sign()
	if err != nil {
		r.Fatal(err)
	}
	var m bytes.Buffer
	for _, f := range append(signatures, fields...) {
		m.WriteString(f.Wire())
	}
	m.WriteString("\r\n" + body)
	return m.Bytes()
}

// verify makes all receivers verify all mail in transit, except that of compromised keys.
func (r *receivers) verify(now time.Time) {
	r.Helper()
	for id, m := range r.mail {
		if m.until.Before(now) || r.exempt[id] {
			delete(r.mail, id)
			continue
		}
		name := keys.RecordName(m.domain, m.selector)
		for _, a := range append([]answer{r.zones[m.domain][name]}, r.cached[name]...) {
			if err := r.verifies(id, m, a.text); err != nil {
				r.Errorf("%s: a receiver that sees %q at %s until %v: %v", now.Format(time.DateTime), a.text, name, a.until, err)
			}
		}
	}
}

func (r *receivers) verifies(id string, m message, record string) error {
	known := id + " " + record
	if err, done := r.results[known]; done {
		return err
	}
	results, err := msgauth.VerifyWithOptions(bytes.NewReader(m.text), &msgauth.VerifyOptions{LookupTXT: func(string) ([]string, error) {
		if record == "" {
			return nil, nil
		}
		return []string{record}, nil
	}})
	if err == nil && len(results) != 1 {
		err = fmt.Errorf("%d signatures", len(results))
	} else if err == nil {
		err = results[0].Err
	}
	r.results[known] = err
	return err
}

// leaked exempts the keys that were revoked as compromised.
func (r *receivers) leaked(set *keys.Set) {
	for _, k := range set.All() {
		if k.Metadata != nil && k.Metadata.Compromised {
			r.exempt[k.Domain+" "+k.Selector] = true
		}
	}
}

// step makes the daemon sign and all receivers verify at one point in time. It returns the selectors that sign for each domain.
func (r *receivers) step(now time.Time) map[string][]string {
	r.Helper()
	r.watcher.Reload()
	r.look(now)
	snap := r.watcher.Current()
	all := map[string][]string{}
	for domain := range r.zones {
		all[domain] = r.signed(snap, domain, now)
	}
	r.leaked(snap.Set)
	r.verify(now)
	return all
}
