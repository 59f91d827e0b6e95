package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"time"

	"signpost/internal/doctor"
	"signpost/internal/report"
	"signpost/internal/report/seen"
	"signpost/internal/report/status"
	"signpost/keys"
)

const (
	// startWait is how long the start page waits for its parts. A part that takes longer is shown by a later request.
	startWait = 700 * time.Millisecond
	// partTimeout limits a part, partAge is how long its result is shown.
	partTimeout = 15 * time.Second
	partAge     = 15 * time.Second
	// mostTodo, mostSteps and mostHosted limit the lists of the start page.
	mostTodo   = 12
	mostSteps  = 5
	mostHosted = 20
	// sentPeriod is the period of the reports that are counted.
	sentPeriod = 7 * oneDay
	// needsRoot is the Fix of doctor.OrNotPermitted. The page never runs as root, so there is nothing to do about it here.
	needsRoot = "sudo signpost doctor"
)

// start is the part of the start page that answers whether mail is in order.
type start struct {
	Todo      []todo
	More      int  // things to do that are not shown
	Well      bool // there is nothing to do
	Green     []doctor.Finding
	Checked   lastRun[[]doctor.Finding]
	Doctor    lastRun[examined]
	Age       string // of doctor's findings
	NeedsRoot int    // checks of doctor that need root
	KeyState  keySummary
	Sent      sentSummary
	Received  receivedSummary
}

// unread is a part of the page with its error, if it could not be read.
type unread struct {
	name string
	err  error
}

// todo is something to do.
type todo struct {
	doctor.Finding
	From  string // the command that found it
	Links []link
}

// parts are the slow parts of the start page.
type parts struct {
	check    background[[]doctor.Finding]
	keys     background[keySummary]
	sent     background[sentSummary]
	received background[receivedSummary]
}

// keySummary has the keys in a few lines.
type keySummary struct {
	Signing, Domains int
	Hosted           []string        // the first names
	signs            map[string]bool // all names
	Since            time.Time
	Messages, Failed int64 // what receivers saw
	Failing          []failingKey
	Steps            []keyStep
	Publish          []doctor.Finding // records that the operator must add to DNS
}

type failingKey struct{ Name, Note string }

type keyStep struct {
	Due        time.Time
	Name, What string
}

// sentSummary counts deliveries of the last sentPeriod.
type sentSummary struct {
	Stages []number
	None   bool
}

type receivedSummary struct {
	status.Received
	None bool
}

// begin starts the parts, and returns when they are known or after startWait.
func (s *site) begin(ctx context.Context, now time.Time) (m start) {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	s.examine(doctorAge)
	run(s, &s.parts.check, func(ctx context.Context) ([]doctor.Finding, error) { return s.Check(ctx), nil })
	s.startKeys()
	run(s, &s.parts.sent, func(ctx context.Context) (sentSummary, error) { return s.countSent(ctx, now) })
	run(s, &s.parts.received, func(context.Context) (receivedSummary, error) {
		r, err := s.Latest()
		if errors.Is(err, fs.ErrNotExist) {
			return receivedSummary{None: true}, nil
		}
		return receivedSummary{Received: r}, err
	})
	m.Checked, m.Doctor = s.parts.check.get(ctx), s.doctor.last()
	k, sent, received := s.parts.keys.get(ctx), s.parts.sent.get(ctx), s.parts.received.get(ctx)
	m.KeyState, m.Sent, m.Received = k.Value, sent.Value, received.Value
	m.list(unread{"check", m.Checked.Err}, unread{"doctor", m.Doctor.Err}, unread{"keys", k.Err}, unread{"reports", sent.Err}, unread{"received reports", received.Err})
	if m.Doctor.Known() {
		m.Age = inUnits(now.Sub(m.Doctor.Ended)) + " ago, in " + inUnits(m.Doctor.Took)
	}
	return m
}

func (s *site) startKeys() {
	run(s, &s.parts.keys, func(context.Context) (keySummary, error) { return s.summarizeKeys(s.Now()) })
}

// signs reports whether a key of the domain signs, as far as it is known in time.
func (s *site) signs(ctx context.Context, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	s.startKeys()
	return s.parts.keys.get(ctx).Value.signs[name]
}

// run starts a part with its timeout.
func run[T any](s *site, part *background[T], read func(context.Context) (T, error)) {
	part.start(s.Now, partAge, func() (T, error) {
		ctx, cancel := context.WithTimeout(context.Background(), partTimeout)
		defer cancel()
		return read(ctx)
	})
}

// list makes the list of things to do, the worst first. Of two findings with the same Fix, the first stays.
func (m *start) list(errs ...unread) {
	var all []todo
	add := func(from string, f doctor.Finding) {
		same := func(t todo) bool { return f.Fix != "" && t.Fix == f.Fix }
		if !slices.ContainsFunc(all, same) {
			all = append(all, todo{Finding: f, From: from, Links: linksOf(from, f)})
		}
	}
	for _, f := range doctor.Arrange(m.Checked.Value) {
		if f.Level == doctor.Green {
			m.Green = append(m.Green, f)
			continue
		}
		add("signpost check", f)
	}
	for _, f := range m.KeyState.Publish {
		add("dkimkey status", f)
	}
	for _, f := range m.Doctor.Value.Findings {
		if f.Fix == needsRoot {
			m.NeedsRoot++
			continue
		}
		add("signpost doctor", f)
	}
	for _, part := range errs {
		if part.err != nil {
			add("signpost web", doctor.Finding{Check: part.name, Level: doctor.Yellow, What: part.err.Error()})
		}
	}
	slices.SortStableFunc(all, func(a, b todo) int {
		return cmp.Or(rank(a.Level)-rank(b.Level), cmp.Compare(a.From, b.From))
	})
	m.Todo = all[:min(len(all), mostTodo)]
	m.More = len(all) - len(m.Todo)
	m.Well = len(all) == 0 && m.Checked.Known() && m.Doctor.Known()
}

func rank(l doctor.Level) int { return slices.Index([]doctor.Level{doctor.Red, doctor.Yellow}, l) }

// linksOf returns the pages that show more about a finding.
func linksOf(from string, f doctor.Finding) (all []link) {
	if f.Domain != "" {
		all = append(all, link{Path: "/domain/" + url.PathEscape(f.Domain), Name: "all about " + f.Domain})
	}
	switch {
	case f.Check == "keys":
		all = append(all, link{Path: "/keys", Name: "Keys"})
	case f.Check == "received reports":
		all = append(all, link{Path: "/received", Name: "Reports received"})
	case from == "signpost doctor":
		all = append(all, link{Path: "/doctor", Name: "Doctor"})
	}
	return all
}

func (s *site) summarizeKeys(now time.Time) (m keySummary, err error) {
	all, err := s.Keys()
	if err != nil {
		return m, err
	}
	receivers, err := s.Seen()
	if err != nil {
		return m, err
	}
	if receivers != nil {
		m.Since = receivers.Since
	}
	m.signs = map[string]bool{}
	for _, k := range all {
		m.add(k, receivers, now)
		if k.Signs || k.Elsewhere {
			m.Signing++
			m.signs[k.Domain] = true
		}
	}
	for name := range m.signs {
		m.Hosted = append(m.Hosted, name)
	}
	slices.Sort(m.Hosted)
	m.Publish = doctor.Arrange(m.Publish)
	m.Domains, m.Hosted = len(m.signs), m.Hosted[:min(len(m.signs), mostHosted)]
	slices.SortStableFunc(m.Steps, func(a, b keyStep) int { return a.Due.Compare(b.Due) })
	m.Steps = m.Steps[:min(len(m.Steps), mostSteps)]
	return m, nil
}

// add adds what receivers saw of a key, and its next step.
func (m *keySummary) add(k keys.Status, receivers *seen.File, now time.Time) {
	name := strings.TrimSpace(k.Domain + " " + k.Selector)
	if s := receivers.Of(k.Domain, k.Selector); s != nil {
		m.Messages, m.Failed = m.Messages+s.Messages, m.Failed+s.Failed
	}
	if receivers.Alarm(k, now) != nil && len(m.Failing) < mostSteps {
		m.Failing = append(m.Failing, failingKey{name, receivers.Note(k, now)})
	}
	if k.Action == "" && k.Fix != "" {
		m.Publish = append(m.Publish, doctor.Finding{Check: "keys", Level: doctor.Yellow, What: name + ": " + k.Next, Cause: "record", Domain: k.Domain, Fix: k.Fix,
			Why: "the key signs when each name server of its domain has the record"}.Printable())
	}
	if len(k.Steps) > 0 {
		m.Steps = append(m.Steps, keyStep{k.Steps[0].Due, name, k.Next})
	}
}

func (s *site) countSent(ctx context.Context, now time.Time) (m sentSummary, err error) {
	found, err := s.Reports(ctx)
	if errors.Is(err, report.ErrNoState) {
		return sentSummary{None: true}, nil
	}
	for _, stage := range []report.Stage{report.StageAccepted, report.StageFrozen, report.StageRefused, report.StageGivenUp, report.StageSuppressed} {
		n := number{Name: stageName(stage)}
		for _, d := range found.Deliveries {
			if d.Stage == stage && now.Sub(d.Changed) < sentPeriod {
				n.N++
			}
		}
		if n.N > 0 {
			m.Stages = append(m.Stages, n)
		}
	}
	return m, err
}

func stageName(s report.Stage) string {
	if s == report.StageFrozen {
		return "waiting"
	}
	return strings.ReplaceAll(string(s), "_", " ")
}

// inUnits returns a duration in its largest unit.
func inUnits(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
	return fmt.Sprintf("%.0f h", d.Hours())
}
