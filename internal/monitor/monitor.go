// Package monitor checks a running installation for Icinga, Nagios and other monitoring systems that run plugins: the daemon, the keys, the
// time since the last rotation, the journal, the cluster and the alarms of received reports. Check returns a Report, which String formats as the Monitoring Plugins Development
// Guidelines require:
//
//	report := monitor.Check(ctx, source)
//	fmt.Println(report)
//	os.Exit(int(report.State))
package monitor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"signpost/internal/cli"
	"signpost/internal/journal"
	"signpost/internal/report/status"
	"signpost/keys"
)

// Source has the functions and settings that Check uses.
type Source struct {
	Sockets []Socket
	Keys    func() (*keys.Set, error)
	Hosted  func() (map[string]bool, error)
	Rules   func(domain string) keys.Rules
	LastRun func() (keys.LastRun, error)
	Journal *Journal // nil: journal.enabled is false
	Metrics string   // address of the daemon's metrics; empty: there are none
	Observe bool     // mode = "observe"
	// Received reads the result of the last run of signpost reports read. nil: no reports are received.
	Received func() (status.Received, error)
	Cluster  string // the status file of the cluster; empty: this host does not belong to a cluster

	// ActAsOwner, if set, makes a process of root act as the owner of the journal. Check calls it after it has read the keys.
	ActAsOwner func() error

	RotateWarning, RotateCritical time.Duration // limits of the time since the last successful run of rotate; 0: none
	Timeout                       time.Duration // for the whole check
	Now                           func() time.Time
}

// Socket is a milter socket of the daemon.
type Socket struct{ Network, Address string }

// Journal is the journal of the daemon.
type Journal struct {
	File    string
	MaxSize int64
	Open    func() (*journal.Reader, error)
}

// Report is the result of Check.
type Report struct {
	State    cli.PluginState
	problems []problem // the worst first
	good     []good
	data     []datum
}

// good is the text of a check without a problem.
type good struct{ check, text string }

// problem is a fault, or something that could not be checked.
type problem struct {
	state  cli.PluginState
	text   string
	hint   string // names the user to run the check as
	check  string // the name of the check; Check sets it
	domain string // the domain concerned; empty: this host
	fix    string // the command or the record that fixes it
	why    string // why it matters; empty: as for all problems of the check
}

// datum is a value of the performance data.
type datum struct {
	label    string
	value    float64
	unit     string
	warn     float64 // 0: no limit
	critical float64 // 0: no limit
	most     float64 // 0: no maximum
}

// part is the result of a part of the check.
type part struct {
	problems []problem
	good     string // the text if there is no problem
	data     []datum
}

// maxProblems limits the number of problems that the line names.
const maxProblems = 6

// severity orders the states. A known fault is worse than something that could not be checked.
func severity(s cli.PluginState) int { return [...]int{0, 2, 3, 1}[s] }

// check is a part of Check.
type check struct {
	name string
	run  func(context.Context) part
}

// Check reads the keys, and then checks the daemon, the journal, the cluster and the received reports concurrently. It returns within Timeout, even if a file or the daemon does
// not answer.
func Check(ctx context.Context, s Source) (r Report) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	within, stop := context.WithTimeout(ctx, s.Timeout/10*9) // so that the parts can still report their own timeouts
	defer stop()
	first := run(ctx, within, check{"keys", s.keys})
	if s.ActAsOwner != nil {
		if err := s.ActAsOwner(); err != nil {
			return Report{State: cli.Unknown, problems: []problem{failure(cli.Unknown, "", err)}}
		}
	}
	// The daemon is the most important part, so it is named first.
	later := run(ctx, within, check{"daemon", s.daemon}, check{"journal", s.journal}, check{"cluster", s.cluster}, check{"received reports", s.received})
	for i, p := range []part{later[0], first[0], later[1], later[2], later[3]} {
		name := [...]string{"daemon", "keys", "journal", "cluster", "received reports"}[i]
		for _, found := range p.problems {
			found.check = name
			r.problems = append(r.problems, found)
		}
		r.data = append(r.data, p.data...)
		if p.good != "" {
			r.good = append(r.good, good{name, p.good})
		}
	}
	if s.Observe {
		r.good = append(r.good, good{"mode", "observe mode"})
	}
	slices.SortStableFunc(r.problems, func(a, b problem) int { return cmp.Compare(severity(b.state), severity(a.state)) })
	if len(r.problems) > 0 {
		r.State = r.problems[0].state
	}
	return r
}

// run runs checks concurrently until ctx ends. The context within is for the checks.
func run(ctx, within context.Context, checks ...check) (parts []part) {
	done := make([]chan part, len(checks))
	for i, c := range checks {
		done[i] = make(chan part, 1)
		go func() { done[i] <- c.run(within) }()
	}
	for i, c := range checks {
		select {
		case p := <-done[i]:
			parts = append(parts, p)
		case <-ctx.Done():
			parts = append(parts, part{problems: []problem{{state: cli.Unknown, text: c.name + ": timeout"}}})
		}
	}
	return parts
}

// String returns the line for the monitoring system: the state, the problems or the texts of the parts without a problem, and the
// performance data.
func (r Report) String() string {
	var parts []string
	if len(r.problems) == 0 {
		for _, g := range r.good {
			parts = append(parts, g.text)
		}
	} else {
		hint := ""
		for i, p := range r.problems {
			if i < maxProblems {
				parts = append(parts, p.text)
			}
			if len(p.hint) > len(hint) { // the longer one names a user besides root
				hint = p.hint
			}
		}
		if more := len(r.problems) - maxProblems; more > 0 {
			parts = append(parts, fmt.Sprintf("%d more", more))
		}
		if hint != "" {
			parts = append(parts, hint)
		}
	}
	var data []string
	for _, d := range r.data {
		data = append(data, d.String())
	}
	return cli.PluginLine("signpost", r.State, strings.Join(parts, "; "), strings.Join(data, " "))
}

// String returns the value in the format of the guidelines: label=value[UOM];warn;crit;min;max. The minimum is always 0.
func (d datum) String() string {
	number := func(f float64) string {
		if f == 0 {
			return ""
		}
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	text := fmt.Sprintf("%s=%s%s;%s;%s;0;%s", d.label, strconv.FormatFloat(d.value, 'f', -1, 64), d.unit, number(d.warn), number(d.critical), number(d.most))
	return strings.TrimRight(text, ";")
}

// failure returns the problem of an error. If the daemon's user has the missing permission, the state is Unknown, because another user runs
// the check.
func failure(state cli.PluginState, what string, err error) problem {
	p := problem{state: state, text: what + cli.Text(err), hint: cli.Hint(err)}
	if errors.Is(err, fs.ErrPermission) && p.hint != "" {
		p.state = cli.Unknown
	}
	return p
}

// ago returns a duration as text, in its largest unit.
func ago(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 72*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}
