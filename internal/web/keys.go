package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"signpost/internal/report/seen"
	"signpost/keys"
)

// keyLine is a key and its timeline.
type keyLine struct {
	keys.Status
	Words string // the timeline in words
	Parts []part
	Seen  *seen.Selector // nil: no receiver reported the key
	Note  string         // about Seen
	Fails bool           // Note is an alarm
}

type domainKeys struct {
	Name string
	Keys []keyLine
}

type keyring struct {
	view
	Legend   []string
	Domains  []domainKeys
	From, To time.Time
	Now      string    // position on the timelines
	Since    time.Time // of the reports of receivers
}

const (
	lineLength = 1000
	// A timeline shows a period of the past and a period of the future. These are their minimum and maximum lengths.
	leastPast, mostPast     = 30 * 24 * time.Hour, 400 * 24 * time.Hour
	leastFuture, mostFuture = 14 * 24 * time.Hour, 120 * 24 * time.Hour
)

// age is a state of a key and the time when the state began. The name of the state is also part of the CSS class.
type age struct {
	name string
	from time.Time
}

// ages returns the states that a key has entered. If a key was activated before its record was seen, the later observation is not a new
// state.
func ages(l *keys.Metadata) []age {
	all := []age{{"created", l.Created}}
	for _, a := range []struct {
		name string
		at   *time.Time
	}{{"published", l.Published}, {"verified", l.Seen}, {"signs", l.Activated}, {"retired", l.Retired}, {"revoked", l.Revoked}, {"removed", l.Removed}} {
		if a.at == nil {
			continue
		}
		if late := l.Activated != nil && a.at.After(*l.Activated); !late || a.name != "published" && a.name != "verified" {
			all = append(all, age{a.name, *a.at})
		}
	}
	return all
}

// planned returns the states that a key will enter.
func planned(steps []keys.Step, now time.Time) (all []age) {
	for _, s := range steps {
		name := map[keys.Action]string{keys.DoActivate: "signs", keys.DoRetire: "retired", keys.DoRevoke: "revoked", keys.DoRemove: "removed"}[s.Do]
		if name != "" && s.Due.After(now) {
			all = append(all, age{name, s.Due})
		}
	}
	return all
}

func (s *site) keys(*http.Request) shown {
	m := &keyring{view: view{Title: "Keys"}, Legend: []string{"created", "published", "verified", "signs", "retired", "revoked"}}
	all, err := s.Keys()
	if err != nil {
		m.wrong(http.StatusServiceUnavailable, err.Error())
		return m
	}
	now := s.Now()
	receivers, err := s.Seen()
	if err != nil {
		m.wrong(http.StatusOK, err.Error())
	}
	if receivers != nil {
		m.Since = receivers.Since
	}
	m.From, m.To = now.Add(-leastPast), now.Add(leastFuture)
	for _, k := range all {
		for _, a := range ages(metadataOf(k)) {
			if !a.from.IsZero() {
				m.From = earliest(m.From, a.from)
			}
		}
		for _, a := range planned(k.Steps, now) {
			m.To = latest(m.To, a.from)
		}
	}
	m.From, m.To = latest(m.From, now.Add(-mostPast)), earliest(m.To, now.Add(mostFuture))
	m.Now = short(m.at(now))
	for _, k := range all {
		if len(m.Domains) == 0 || m.Domains[len(m.Domains)-1].Name != k.Domain {
			m.Domains = append(m.Domains, domainKeys{Name: k.Domain})
		}
		d := &m.Domains[len(m.Domains)-1]
		l := m.draw(k, now)
		l.Seen, l.Note, l.Fails = receivers.Of(k.Domain, k.Selector), receivers.Note(k, now), receivers.Alarm(k, now) != nil
		d.Keys = append(d.Keys, l)
	}
	return m
}

// metadataOf returns the metadata of a key. If an unmanaged key has not been observed yet, the metadata has only the time of its state.
func metadataOf(k keys.Status) *keys.Metadata {
	switch {
	case k.Metadata != nil:
		return k.Metadata
	case k.Observed != nil:
		return k.Observed
	}
	return &keys.Metadata{Created: k.Since}
}

// draw returns a key with its timeline.
func (m *keyring) draw(k keys.Status, now time.Time) keyLine {
	l := keyLine{Status: k}
	entered, next := ages(metadataOf(k)), planned(k.Steps, now)
	var words []string
	for i, a := range entered {
		if a.from.IsZero() {
			continue
		}
		end := now
		if i+1 < len(entered) {
			end = entered[i+1].from
		}
		words = append(words, a.name+" "+a.from.In(now.Location()).Format("2006-01-02"))
		l.add(m, a.name, a.from, end)
	}
	last := entered[len(entered)-1].name
	if last != "removed" {
		from := now
		for _, a := range append(next, age{"", m.To}) {
			l.add(m, last+" ahead", from, a.from)
			if a.name != "" {
				words = append(words, a.name+" from "+a.from.In(now.Location()).Format("2006-01-02")+" on")
			}
			from, last = a.from, a.name
			if last == "removed" {
				break
			}
		}
	}
	l.Words = "Timeline of this key: " + strings.Join(words, ", ")
	return l
}

// add adds the visible part of a state to the timeline. The state "removed" is not drawn.
func (l *keyLine) add(m *keyring, class string, from, to time.Time) {
	from, to = latest(from, m.From), earliest(to, m.To)
	if !to.After(from) || strings.HasPrefix(class, "removed") {
		return
	}
	x := m.at(from)
	l.Parts = append(l.Parts, part{Class: "k-" + class, X: short(x), W: short(m.at(to) - x)})
}

func (m *keyring) at(t time.Time) float64 {
	return float64(t.Sub(m.From)) / float64(m.To.Sub(m.From)) * lineLength
}

func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }

func earliest(times ...time.Time) time.Time { return slices.MinFunc(times, time.Time.Compare) }
