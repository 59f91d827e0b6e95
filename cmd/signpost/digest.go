package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/digest"
	"signpost/internal/doctor"
	"signpost/internal/journal"
	"signpost/internal/monitor"
	"signpost/internal/report"
	"signpost/internal/report/received"
	"signpost/internal/setup"
	"signpost/internal/term"
)

func digestCommand(load func() (*config.Config, error)) *cobra.Command {
	var since string
	var asJSON bool
	c := &cobra.Command{
		Use:   "digest",
		Short: "Summarize the mail of a week, for cron and mail",
		Long: "Summarize a period on one screen: the numbers of messages, compared with the period before, what was not accepted and why, new\n" +
			"sources of mail of the hosted domains, keys that are due in a period of the same length from now, alarms, and the DMARC reports\n" +
			"that were sent and received. The numbers are those of signpost log on this host.\n\n" +
			"A new source is a client whose mail passes DMARC for a hosted domain, and did not send such mail in the period before. An address in\n" +
			"received reports is one if it is neither yours nor known, and no report about the period before has it.\n\n" +
			"Exit code 0: done, even if there are alarms (signpost check has exit codes for these); 1: failed; 2: usage or configuration error.",
		Example: "  signpost digest\n  signpost digest --since 1d | mail -s \"Signpost on $(hostname)\" postmaster",
		Args:    cobra.NoArgs,
		RunE: loaded(load, func(c *cobra.Command, _ []string, conf *config.Config) error {
			now := time.Now()
			f, err := (&journal.Query{Since: since}).Filter(now)
			if err != nil {
				return flagError(err)
			}
			if !f.Since.Before(now) {
				return cli.Usage(fmt.Errorf("--since %s is not in the past", term.Printable(since)))
			}
			d := summarize(c.Context(), conf, f.Since, now)
			if err := c.Context().Err(); err != nil {
				return err
			}
			if asJSON {
				return term.WriteJSON(c.OutOrStdout(), d)
			}
			return d.Write(c.OutOrStdout(), since)
		}),
	}
	c.Flags().StringVar(&since, "since", "7d", "summarize from this `TIME` on: "+journal.TimeFormats)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON (/usr/share/doc/signpost/docs/json.md)")
	cli.Complete(c, map[string]cobra.CompletionFunc{"since": times()})
	return c
}

// digestCheck limits signpost check in a digest.
const digestCheck = 10 * time.Second

// summarize reads everything for a digest. What cannot be read is among its Errors, so that the rest of the digest still arrives.
func summarize(ctx context.Context, conf *config.Config, from, now time.Time) *digest.Digest {
	name, _ := os.Hostname()
	d := &digest.Digest{Host: name, From: from, To: now, Keys: []digest.Due{}}
	failed := func(what string, err error) {
		if err != nil && ctx.Err() == nil {
			text, _, _ := strings.Cut(cli.Text(err), "\n")
			d.Errors = append(d.Errors, what+": "+text)
		}
	}
	hosted, err := setup.KeyStore(conf).Hosted()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		failed("hosted domains", err)
	}
	status, err := keyStatus(conf, now)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		failed("keys", err)
	}
	d.Keys = digest.KeysDue(status, now.Add(now.Sub(from)))
	source := monitored(conf)
	source.Timeout, source.RotateWarning, source.RotateCritical = digestCheck, rotateWarning, rotateCritical
	if result := monitor.Check(ctx, source); result.State != cli.OK { // from here on, root acts as the owner of the journal
		d.Problem, _, _ = strings.Cut(result.String(), " | ")
		d.Problems = problemsOf(result)
	}
	d.Alarms, d.Omitted, err = alarmsOf(conf, "")
	failed("alarms", err)
	if conf.Journal.Enabled {
		d.Journal, err = digestJournal(ctx, conf, from, now, hosted)
		failed("journal", err)
	}
	if conf.Reports.Send.Enabled {
		d.Sent, err = digestSent(ctx, conf, from)
		failed("sent reports", err)
	}
	if len(conf.Reports.Receive.Addresses) > 0 {
		d.Seen, err = digestReceived(ctx, conf, from, now)
		failed("received reports", err)
	}
	return d
}

// problemsOf counts the problems of each check, the worst first.
func problemsOf(result monitor.Report) (all []digest.Problem) {
	for _, f := range result.Findings() {
		if f.Level == doctor.Green {
			continue
		}
		i := slices.IndexFunc(all, func(p digest.Problem) bool { return p.Check == f.Check })
		if i < 0 {
			i, all = len(all), append(all, digest.Problem{Check: f.Check, First: f.What})
		}
		all[i].N++
	}
	return all
}

func digestJournal(ctx context.Context, conf *config.Config, from, now time.Time, hosted map[string]bool) (*digest.Mail, error) {
	r, err := readJournal(conf)
	if errors.Is(err, journal.ErrNone) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	m, err := digest.ReadMail(ctx, r, from, now, func(name string) bool { return hosted[name] })
	return m, errors.Join(err, r.Unread())
}

func digestSent(ctx context.Context, conf *config.Config, from time.Time) (*digest.Sent, error) {
	n := &digest.Sent{}
	s, err := openReports(ctx, conf, false, time.Now)
	if errors.Is(err, report.ErrNoState) {
		return n, nil
	}
	if err != nil {
		return nil, err
	}
	defer s.Close()
	all, err := s.List(ctx)
	for _, d := range all {
		count := map[report.Stage]*int{report.StageAccepted: &n.Accepted, report.StageRefused: &n.Refused, report.StageGivenUp: &n.GivenUp, report.StageSuppressed: &n.Suppressed}[d.Stage]
		switch {
		case d.Stage == report.StageFrozen:
			n.Waiting++
		case count != nil && !d.Changed.Before(from):
			*count++
		}
	}
	return n, err
}

func digestReceived(ctx context.Context, conf *config.Config, from, now time.Time) (*digest.Received, error) {
	n := &digest.Received{Sources: []digest.Source{}}
	s, err := openReceived(ctx, conf)
	if errors.Is(err, received.ErrNone) {
		return n, nil
	}
	if err != nil {
		return nil, err
	}
	defer s.Close()
	period := received.Filter{Since: from.UTC().Truncate(24 * time.Hour), Until: now}
	earlier := received.Filter{Since: period.Since.Add(-now.Sub(from)).Truncate(24 * time.Hour), Until: period.Since}
	if err = digestSources(ctx, conf, s, n, period, earlier); err != nil {
		return nil, err
	}
	o, err := overviewOf(ctx, conf, s, period)
	for _, one := range o.Domains {
		n.Reports, n.Messages, n.Passed, n.Domains, n.Reporters = n.Reports+one.Reports, n.Messages+one.Messages, n.Passed+one.Passed, n.Domains+1, max(n.Reporters, one.Reporters)
	}
	return n, err
}

// digestSources reads who sends mail of the hosted domains, according to received reports.
func digestSources(ctx context.Context, conf *config.Config, s *received.Store, n *digest.Received, period, earlier received.Filter) error {
	hosted, err := setup.KeyStore(conf).Hosted()
	if err != nil {
		return err
	}
	for name := range hosted {
		var found [2]received.Sources
		for i, f := range []received.Filter{period, earlier} {
			f.Domain = name
			if found[i], err = s.Sources(ctx, f, receivedSite(conf), mostCSV); err != nil {
				return err
			}
		}
		n.AddSources(name, found[0].Most, found[1].Most)
	}
	return nil
}
