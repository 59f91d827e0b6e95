package dmarc

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Outcome is the result of a Step.
type Outcome string

// The outcomes. Only the lookup that decides between np and sp has one of the last two.
const (
	RecordFound         Outcome = "record"                // Cause, if set: why the record counts as p=none although it does not contain p=none
	RecordWithoutEffect Outcome = "record_without_effect" // Cause: why the record has no effect
	RecordNone          Outcome = "no_record"             // Cause, if set: why the TXT records of the name are not DMARC records
	LookupFailed        Outcome = "lookup_failed"         // Detail: the DNS status
	NameExists          Outcome = "name_exists"           // np does not apply
	NameMissing         Outcome = "name_missing"          // np applies
)

// Outcomes returns all outcomes.
func Outcomes() []Outcome {
	return []Outcome{RecordFound, RecordWithoutEffect, RecordNone, LookupFailed, NameExists, NameMissing}
}

// Step is one lookup of a walk, for signpost dmarc and explain.
type Step struct {
	Name    string  `json:"name"`
	Record  string  `json:"record,omitempty"` // the DMARC record; if Cause is SemicolonMissing, a TXT record that is almost a DMARC record
	Outcome Outcome `json:"outcome"`
	PSD     string  `json:"psd,omitempty"`    // y or n: the record has psd=y or psd=n, which ends the walk
	Cause   Cause   `json:"cause,omitempty"`  // see Outcome
	Detail  string  `json:"detail,omitempty"` // see Cause and Outcome
}

// Explain finds the policy for an Author Domain in the same way as for a message. It also finds the Organizational Domain, even if the
// policy does not need it. The Status is empty if there is a policy.
func Explain(ctx context.Context, r Resolver, author string) (Result, []Step) {
	t := &tracer{resolver: r, steps: []Step{}}
	d := Discover(ctx, t, author)
	if f := d.organizational(ctx).failed; f != nil && d.result.Cause == "" {
		d.result.Cause, d.result.Detail, d.result.Failed = OrganizationLookupFailed, dnsStatus(f.err), strings.TrimSuffix(f.name, ".")
	}
	return d.result, t.steps
}

// tracer records the lookups. It records a repeated lookup of a name only once.
type tracer struct {
	resolver Resolver
	steps    []Step
}

func (t *tracer) LookupTXT(ctx context.Context, name string) ([]string, error) {
	txts, err := t.resolver.LookupTXT(ctx, name)
	t.note(stepOf(name, txts, err))
	return txts, err
}

// stepOf returns the step of a lookup of TXT records.
func stepOf(name string, txts []string, err error) Step {
	s := Step{Name: name, Outcome: RecordNone}
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
		s.Outcome, s.Detail = LookupFailed, dnsStatus(err)
	case len(records) > 1:
		s.Cause, s.Detail = SeveralRecords, strconv.Itoa(len(records))
	case len(records) == 1:
		s.found(records[0])
	case len(txts) > 0:
		s.Cause = VersionMissing
		for _, txt := range txts {
			if after := nearMiss(txt); after != "" {
				s.Record, s.Cause, s.Detail = txt, SemicolonMissing, after
			}
		}
	}
	return s
}

func (s *Step) found(r *Record) {
	s.Record, s.Outcome = r.Text, RecordFound
	if r.Broken {
		s.Outcome = RecordWithoutEffect
	}
	if r.Fault != nil {
		s.Cause, s.Detail = r.Fault.Cause, r.Fault.Detail
	}
	if r.PSD != 'u' {
		s.PSD = string(r.PSD)
	}
}

func (t *tracer) Exists(ctx context.Context, name string) (bool, error) {
	exists, err := t.resolver.Exists(ctx, name)
	s := Step{Name: name, Outcome: NameMissing}
	switch {
	case err != nil:
		s.Outcome, s.Detail = LookupFailed, dnsStatus(err)
	case exists:
		s.Outcome = NameExists
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
