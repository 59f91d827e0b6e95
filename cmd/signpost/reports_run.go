package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/daemon"
	"signpost/internal/doctor"
	"signpost/internal/doctor/reports"
	"signpost/internal/durable"
	"signpost/internal/journal"
	"signpost/internal/metrics"
	"signpost/internal/report"
	"signpost/internal/report/send"
	"signpost/internal/setup"
)

const (
	// collectInterval is the time between two attempts to compute the reports of a day. The first attempt may fail to look up a
	// destination. An attempt reads the whole day in the journal.
	collectInterval = time.Hour
	// collectTime limits one attempt. It may compute the reports of two days, and must end long before TimeoutStartSec of the unit.
	collectTime = 30 * time.Minute
	// readyFor is the time for which the checks of reports stay green without another check.
	readyFor = 4 * time.Hour
	// checksTimeout limits the time for the checks of reports.
	checksTimeout = time.Minute
)

// sending is one run of signpost reports send.
type sending struct {
	conf    *config.Config
	options reportsSendOptions
	clock
	log   *slog.Logger
	state *report.State
}

// clock has the clocks of a run. up is nil if the user has set the time with --date.
type clock struct {
	now func() time.Time
	up  func() (time.Duration, error) // since the boot
}

// progress is the file progress.json: what the next run must know in addition to the database.
type progress struct {
	Collected time.Time `json:"collected"` // the last attempt to compute reports
	Green     time.Time `json:"green"`     // when all checks of reports were green
	Domain    string    `json:"domain"`    // of reports.send.from, to which Green refers

	Clock send.Clock `json:"clock"`
}

// steady returns the time for which nothing is sent, because the clock of the machine was set.
func (s *sending) steady() (time.Duration, error) {
	if s.up == nil {
		return 0, nil
	}
	up, err := s.up()
	if err != nil {
		return 0, err
	}
	p := s.progress()
	p.Clock = p.Clock.Next(s.now(), up)
	return p.Clock.Wait(), s.write(s.progressFile(), p)
}

func (s *sending) run(ctx context.Context) (summary send.Summary, err error) {
	if s.up != nil { // --date may be in the past
		if err := s.state.ForgetDays(ctx, s.now()); err != nil {
			return summary, err
		}
	}
	p := s.progress()
	if s.conf.Clustered() {
		summary, err = s.together(ctx, &p)
	} else {
		if err := s.returned(ctx); err != nil {
			return summary, err
		}
		unread := s.collect(ctx, &p)
		summary, err = send.Run(ctx, s.delivery(&p))
		err = errors.Join(unread, err)
	}
	return summary, errors.Join(err, s.write(s.progressFile(), p))
}

// returned reads the bounces.
func (s *sending) returned(ctx context.Context) error {
	_, err := send.Returned(ctx, s.state, bounces(s.conf), s.conf.ReportsDomain(), s.log)
	return err
}

// delivery returns the options of send.Run for a site with one host.
func (s *sending) delivery(p *progress) send.Options {
	return send.Options{State: s.state, Server: send.Server{Addr: s.conf.Reports.SMTP, Name: s.conf.ReportsDomain()},
		PerDay: s.conf.Reports.Send.PerDay, PerHour: s.conf.Reports.Send.PerDestinationHour, Now: s.now, Early: s.options.early, Only: s.options.domain,
		Ready: func(ctx context.Context) error { return s.checked(ctx, p) }, Log: s.log}
}

// collect computes the reports about yesterday. If yesterday's run did not happen, it also computes those about the day before.
func (s *sending) collect(ctx context.Context, p *progress) error {
	now := s.now()
	if since := now.Sub(p.Collected); since >= 0 && since < collectInterval && !s.options.early {
		return nil
	}
	yesterday := report.Day(now).AddDate(0, 0, -1)
	days := []time.Time{yesterday}
	if earlier, err := s.state.Collected(ctx, yesterday.AddDate(0, 0, -2)); err != nil {
		return err
	} else if earlier {
		days = append(days, yesterday.AddDate(0, 0, -1))
	}
	for _, day := range days {
		done, err := s.state.Collected(ctx, day)
		if err != nil {
			return err
		}
		if done || now.Before(send.First(day)) {
			continue
		}
		p.Collected = now
		if err := s.collectDay(ctx, day); err != nil {
			return err
		}
	}
	return nil
}

func (s *sending) collectDay(ctx context.Context, day time.Time) error {
	key, err := report.LoadKey(daemon.BounceKey(s.conf))
	if err != nil {
		return err
	}
	collection, err := s.collection(key)
	if err != nil {
		return err
	}
	past, err := s.journal()
	if err != nil {
		return err
	}
	defer past.Close()
	_, err = collection.Collect(ctx, past, day)
	return err
}

func (s *sending) collection(key report.Key) (send.Collection, error) {
	resolver, err := setup.Resolver(s.conf, time.Now, s.log)
	return send.Collection{State: s.state, Key: key, Sender: sender(s.conf), Resolver: resolver, Exclude: s.conf.Reports.Send.Exclude, Now: s.now, MaxTime: collectTime, Log: s.log}, err
}

func (s *sending) journal() (*journal.Reader, error) {
	past, err := journal.OpenReader(s.conf.JournalFile())
	if err != nil {
		return nil, noJournal(s.conf, err)
	}
	return past, nil
}

// checked returns an error if one of the checks of reports is red.
func (s *sending) checked(ctx context.Context, p *progress) error {
	if age := time.Since(p.Green); p.Domain == s.conf.ReportsDomain() && age >= 0 && age < readyFor {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, checksTimeout)
	defer cancel()
	f, err := reportFacts(s.conf, s.options.postfix)
	if err != nil {
		return err
	}
	if red := reports.Red(ctx, f); len(red) > 0 {
		return errors.New("no report is sent, because checks are red: " + doctor.Join(red, "; ", func(f doctor.Finding) string { return f.What }) +
			"\nhint: sudo signpost doctor, and sudo signpost reports setup")
	}
	p.Green, p.Domain = time.Now(), s.conf.ReportsDomain()
	return nil
}

// finish deletes old reports, and writes the state for the daemon's metrics.
func (s *sending) finish(ctx context.Context, ok bool) error {
	ctx = context.WithoutCancel(ctx)
	if err := s.state.Expire(ctx, s.now().Add(-s.conf.Reports.Send.Retention)); err != nil {
		return err
	}
	counts, err := s.state.Counts(ctx)
	if err != nil {
		return err
	}
	suppressed, err := s.state.Suppressed(ctx)
	if err != nil {
		return err
	}
	status := metrics.Reports{LastRun: time.Now(), OK: ok, Suppressed: len(suppressed),
		Waiting: counts[report.StageFrozen], Sent: counts[report.StageAccepted], GivenUp: counts[report.StageGivenUp]}
	return s.write(daemon.ReportsStatus(s.conf), status)
}

func (s *sending) progress() (p progress) {
	data, err := durable.Tree{s.conf.StateDir}.Read(s.progressFile())
	if err != nil || json.Unmarshal(data, &p) != nil {
		return progress{}
	}
	return p
}

func (s *sending) progressFile() string { return filepath.Join(s.conf.ReportsDir(), "progress.json") }

// write replaces a file.
func (s *sending) write(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return durable.Tree{s.conf.StateDir}.Write(path, data, s.conf.ReportsDir(), 0o600)
}

// writeFile writes a new file for the user.
func writeFile(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return cli.Usage(fmt.Errorf("--to: %w", err))
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
