package dmarc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
)

// Step is one lookup of a walk, for a person who follows it.
type Step struct {
	Name    string `json:"name"`
	Record  string `json:"record,omitempty"` // the record, or a TXT record that is almost one
	Outcome string `json:"outcome"`          // what the record means, or that there is none
}

// Explain finds the policy for an Author Domain as it is found for a message, and its Organizational Domain, whether or not
// it is needed. Its Status is empty if there is a policy.
func Explain(ctx context.Context, r Resolver, author string) (Result, []Step) {
	t := &tracer{resolver: r, steps: []Step{}}
	d := Discover(ctx, t, author)
	if f := d.organizational(ctx).failed; f != nil && d.result.Reason == "" {
		d.result.Reason = "the Organizational Domain could not be looked up: " + f.err.Error()
	}
	return d.result, t.steps
}

// tracer records the lookups, each name once.
type tracer struct {
	resolver Resolver
	steps    []Step
}

func (t *tracer) LookupTXT(ctx context.Context, name string) ([]string, error) {
	txts, err := t.resolver.LookupTXT(ctx, name)
	s := Step{Name: name, Outcome: "no record"}
	var records []*Record
	for _, txt := range txts {
		if r, ok := ParseRecord(txt); ok {
			records = append(records, r)
		}
	}
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
	case err != nil:
		s.Outcome = "not known: " + err.Error()
	case len(records) > 1:
		s.Outcome = fmt.Sprintf("%d records, which count as none", len(records))
	case len(records) == 1:
		s.Record, s.Outcome = records[0].Text, records[0].words()
	case len(txts) > 0:
		s.Outcome = "no DMARC record among its TXT records: v=DMARC1 has to come first, in these letters"
		for _, txt := range txts {
			if after := nearMiss(txt); after != "" {
				s.Record, s.Outcome = txt, "no DMARC record: v=DMARC1 is followed by "+after+" instead of a semicolon"
			}
		}
	}
	t.note(s)
	return txts, err
}

func (t *tracer) Exists(ctx context.Context, name string) (bool, error) {
	exists, err := t.resolver.Exists(ctx, name)
	s := Step{Name: name, Outcome: "the name does not exist: np applies"}
	switch {
	case err != nil:
		s.Outcome = "not known: " + err.Error()
	case exists:
		s.Outcome = "the name exists: np does not apply"
	}
	t.note(s)
	return exists, err
}

func (t *tracer) Remembered(name string) []string { return t.resolver.Remembered(name) }

func (t *tracer) note(s Step) {
	if !slices.ContainsFunc(t.steps, func(known Step) bool { return known.Name == s.Name }) {
		t.steps = append(t.steps, s)
	}
}

// words returns what a record means for the walk.
func (r *Record) words() string {
	switch {
	case r.Broken != "":
		return "a record without effect: " + r.Broken
	case r.PSD == 'y':
		return "a record of a public suffix (psd=y): the walk ends"
	case r.PSD == 'n':
		return "a record of an Organizational Domain (psd=n): the walk ends"
	}
	if r.Fault != "" {
		return "a record: " + r.Fault
	}
	return "a record"
}
