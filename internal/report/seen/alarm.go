package seen

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"signpost/keys"
)

const (
	// FailingShare is the share of the messages of a report, in percent, that must fail before the report counts as failing. Mail that is
	// changed on its way, and receivers whose DNS fails, cause failures below it in all reports.
	FailingShare = 2
	// failingReporters is the number of trusted reporters that raise an alarm: the error is then not at the receiver.
	failingReporters = 2
	// failingMessages is the number of failed messages above which one trusted reporter raises an alarm.
	failingMessages = 20
	// alarmAge is the age from which failures no longer raise an alarm. Most reporters send a report within two days.
	alarmAge = 7 * 24 * time.Hour
	// afterRevocation is how long failures of a revoked key are expected: 5 days in a queue, 7 days until the signature expires, and 2 days
	// until the report arrives.
	afterRevocation = 14 * 24 * time.Hour
)

// Alarm is a key whose signatures fail at trusted reporters. It is an observation of others: no program changes a key because of it.
type Alarm struct {
	Domain    string
	Selector  string
	Reporters []string // sorted by the number of failures
	Failed    int64
	Messages  int64 // that passed or failed at these reporters since then
	Since     time.Time
	Last      time.Time
}

// rsaPasses reports whether the signatures of an RSA key of a domain pass at a reporter.
func (f *File) rsaPasses(domain, reporter string) bool {
	i, _ := slices.BinarySearchFunc(f.Selectors, Selector{Domain: domain}, compare)
	for _, s := range f.Selectors[i:] {
		if s.Domain != domain {
			break
		}
		fails := slices.ContainsFunc(s.Failing, func(r Failing) bool { return r.Reporter == reporter })
		if s.Algorithm == "rsa" && s.Passed > 0 && !fails {
			return true
		}
	}
	return false
}

// Expected returns the time until which failures of a key are expected, because its record is or will be revoked. If expected is false, they
// are not expected: the key signs, or its record stays in DNS until another key signs.
func Expected(k keys.Status) (until time.Time, expected bool) {
	revoked := time.Time{}
	if k.Metadata != nil && k.Metadata.Revoked != nil {
		revoked = *k.Metadata.Revoked
	}
	for _, step := range k.Steps {
		if step.Do == keys.DoRevoke {
			revoked = step.Due
		}
	}
	if revoked.IsZero() {
		return time.Time{}, false
	}
	return revoked.Add(afterRevocation), true
}

// String returns a text for people, without the name of the key.
func (a Alarm) String() string {
	return fmt.Sprintf("receivers report that its signatures fail: %d of %d messages since %s, at %s", a.Failed, a.Messages, a.Since.UTC().Format(time.DateOnly), names(a.Reporters))
}

// Note returns a text about what receivers saw of a key, or "": its alarm, or why failures raise none.
func (f *File) Note(k keys.Status, now time.Time) string {
	s := f.Of(k.Domain, k.Selector)
	if s == nil {
		return ""
	}
	if a := f.Alarm(k, now); a != nil {
		return "fails since " + a.Since.UTC().Format(time.DateOnly) + " at " + names(a.Reporters)
	}
	if until, expected := Expected(k); expected && now.Before(until) {
		return "expected until " + until.UTC().Format(time.DateOnly)
	}
	if k.Algorithm == "ed25519" && s.Failed+s.NotJudged > 0 && f.rsaPasses(k.Domain, "") {
		return "some receivers do not support Ed25519"
	}
	var failing []string
	for _, r := range s.Failing {
		if name := r.Reporter; r.Trusted {
			failing = append(failing, name)
		} else {
			failing = append(failing, name+" (not trusted yet)")
		}
	}
	if len(failing) == 0 {
		return ""
	}
	return "fails at " + names(failing)
}

// names returns the first names of a list.
func names(all []string) string {
	const shown = 3
	if len(all) <= shown {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:shown], ", "), len(all)-shown)
}

// Alarm returns the alarm of a key, or nil. Failures raise an alarm at two or more trusted reporters. At one trusted reporter, more than 20
// messages must fail, and more than 2 percent of all messages at trusted reporters. Failures that are expected raise none: those of a retired
// key until Expected, and those of an Ed25519 key at a reporter where the RSA keys of the domain pass.
func (f *File) Alarm(k keys.Status, now time.Time) *Alarm {
	s := f.Of(k.Domain, k.Selector)
	if s == nil {
		return nil
	}
	until, _ := Expected(k)
	a := &Alarm{Domain: k.Domain, Selector: k.Selector}
	for _, r := range s.Failing {
		if !r.Trusted || now.Sub(r.Last) > alarmAge || !r.Last.After(until) || k.Algorithm == "ed25519" && f.rsaPasses(k.Domain, r.Reporter) {
			continue
		}
		a.Reporters = append(a.Reporters, r.Reporter)
		a.Failed, a.Messages = a.Failed+r.Failed, a.Messages+r.Messages
		if a.Since.IsZero() || r.Since.Before(a.Since) {
			a.Since = r.Since
		}
		if r.Last.After(a.Last) {
			a.Last = r.Last
		}
	}
	if len(a.Reporters) >= failingReporters || a.Failed > failingMessages && a.Failed*100 > s.Trusted*FailingShare {
		return a
	}
	return nil
}
