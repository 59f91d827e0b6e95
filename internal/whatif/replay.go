package whatif

import (
	"context"
	"errors"

	"signpost/internal/dmarc"
	"signpost/internal/journal"
	"signpost/policy"
)

// Options are the rules of a Replay.
type Options struct {
	Rules    policy.Rules
	AsIf     dmarc.Policy // replaces a published p=none; "": does not
	Observed bool         // messages of observe mode count as accepted, not as decided
}

// Replay judges the messages that a filter takes. It calls read after each.
func Replay(ctx context.Context, past *journal.Reader, which journal.Filter, o Options, read func()) (*Tally, error) {
	tally := &Tally{}
	err := past.Each(ctx, which, func(e *journal.Entry) bool {
		judged := Judge(AsIf(e, o.AsIf), o.Rules)
		e.Observe = e.Observe && o.Observed
		tally.Add(e, judged)
		read()
		return ctx.Err() == nil
	})
	return tally, errors.Join(err, ctx.Err())
}

// AsIf returns the entry as it would be if its Author Domains published p instead of p=none.
func AsIf(e *journal.Entry, p dmarc.Policy) *journal.Entry {
	if p == "" {
		return e
	}
	other := *e
	other.Evidence.DMARC = make([]dmarc.Result, len(e.Evidence.DMARC))
	for i, d := range e.Evidence.DMARC {
		other.Evidence.DMARC[i] = d.AsIf(p)
	}
	return &other
}
