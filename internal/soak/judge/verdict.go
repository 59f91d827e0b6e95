package judge

import (
	"fmt"
	"slices"
	"time"
)

// Kind is the kind of a problem.
type Kind string

// The kinds, in the order of the table.
const (
	WrongResult     Kind = "wrong results"
	Unsigned        Kind = "unsigned"
	BadSignature    Kind = "signatures that do not verify"
	Lost            Kind = "lost"
	Doubled         Kind = "doubled without a reason"
	Delayed         Kind = "delayed without a fault"
	ForgeryAccepted Kind = "forgeries accepted"
	WrongReply      Kind = "wrong replies"
	ReportWrong     Kind = "reports wrong"
	ReportChanged   Kind = "reports doubled with other content"
	Growth          Kind = "growth of memory or descriptors"
)

func kinds() []Kind {
	return []Kind{WrongResult, Unsigned, BadSignature, Lost, Doubled, Delayed, ForgeryAccepted, WrongReply, ReportWrong, ReportChanged, Growth}
}

// Problem is one thing that was not right.
type Problem struct {
	Kind Kind
	ID   string // of the message, the report or the process
	Text string
}

// Problems judges everything that was collected. Delays while a fault was active are not problems.
func (j *Judge) Problems() []Problem {
	found := slices.Clone(j.problems)
	for _, m := range j.messages {
		for _, p := range j.message(m, j.copies[m.ID]) {
			p.ID = m.ID
			p.Text = string(m.Class) + " at " + m.Host + ": " + p.Text
			found = append(found, p)
		}
	}
	for id, copies := range j.copies {
		if j.messages[id] == nil {
			found = append(found, Problem{WrongResult, id, "a message arrived at " + copies[0].Host + " that nobody sent"})
		}
	}
	found = append(found, j.judgeReports()...)
	found = append(found, j.judgeRead()...)
	found = append(found, j.growth()...)
	order := kinds()
	slices.SortStableFunc(found, func(a, b Problem) int { return slices.Index(order, a.Kind) - slices.Index(order, b.Kind) })
	return found
}

func (j *Judge) message(m *Message, copies []Copy) (found []Problem) {
	add := func(k Kind, format string, args ...any) {
		found = append(found, Problem{Kind: k, Text: fmt.Sprintf(format, args...)})
	}
	accepted, lost := 0, 0
	for _, a := range m.Attempts {
		switch {
		case a.Code/100 == 2:
			accepted++
			if m.Want.Rejected {
				add(ForgeryAccepted, "reply %d", a.Code)
			}
		case a.Code == 0:
			lost++
			fallthrough
		case a.Code/100 == 4:
			if !j.during(Tempfail, a.From, a.To, m.Host) {
				add(WrongReply, "reply %d while no fault was active", a.Code)
			}
		case !m.Want.Rejected:
			add(WrongReply, "reply %d", a.Code)
		}
	}
	if m.Want.Rejected {
		if len(copies) > 0 {
			add(ForgeryAccepted, "%d copies arrived", len(copies))
		}
		return found
	}
	for _, c := range copies {
		j.copy(m, c, add)
	}
	switch {
	case m.Want.At == "":
	case len(copies) == 0 && (accepted > 0 || lost == 0):
		add(Lost, "no copy arrived after %d positive replies", accepted)
	case len(copies) > accepted+lost:
		add(Doubled, "%d copies arrived after %d attempts", len(copies), accepted+lost)
	}
	return found
}

// copy judges one copy of a message.
func (j *Judge) copy(m *Message, c Copy, add func(Kind, string, ...any)) {
	begin := m.Attempts[0].From
	if m.Want.At != c.Host {
		add(WrongResult, "a copy arrived at %s, want %q", c.Host, m.Want.At)
		return
	}
	if c.At.Sub(begin) > MaxDelay && !j.during(Delay, begin, c.At, m.Host, c.Host) {
		add(Delayed, "arrived after %s", c.At.Sub(begin).Round(time.Second))
	}
	if m.Want.Signer != "" && !slices.Contains(c.Signers, m.Want.Signer) {
		add(Unsigned, "no signature of %s", m.Want.Signer)
	}
	for _, signer := range c.Signers {
		if signer != m.Want.Signer && slices.Contains(j.ours, signer) {
			add(WrongResult, "a signature of %s, want %q", signer, m.Want.Signer)
		}
	}
	if c.Foreign > 0 {
		add(WrongResult, "%d forged Authentication-Results fields arrived", c.Foreign)
	}
	if m.Want.Results == nil {
		return
	}
	if c.Results == nil {
		add(WrongResult, "no Authentication-Results of %s", c.Host)
		return
	}
	disturbed := j.during(TempError, begin, c.At, m.Host, c.Host)
	for method, want := range m.Want.Results {
		if method == "dkim" && m.Want.Signer != "" && j.during(Revoked, begin, c.At) {
			continue
		}
		// A fault may hide a result, but can never create another one.
		if got := c.Results[method]; got != want && (got != "temperror" || !disturbed) {
			add(WrongResult, "%s=%s, want %s", method, got, want)
		}
	}
	if c.Tagged != m.Want.Tagged && !disturbed {
		add(WrongResult, "quarantine %v, want %v", c.Tagged, m.Want.Tagged)
	}
}
