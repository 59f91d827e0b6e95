package send

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"signpost/internal/report"
)

// GiveUpAfter is the time after which a report that the server has not accepted is given up.
const GiveUpAfter = 3 * 24 * time.Hour

// Options are the parameters of Run.
type Options struct {
	State   *report.State
	Server  Server
	PerDay  int // deliveries
	PerHour int // deliveries to one organization
	Now     func() time.Time
	Early   bool                            // send also what is not due yet
	Only    string                          // send only reports about this Policy Domain; empty: all
	Ready   func(ctx context.Context) error // called once before the first delivery; after an error, nothing is sent
	Log     *slog.Logger

	// The following are for a site of several hosts, of which one sends.
	Due   func(policyDomain string, day time.Time) time.Time // nil: the function Due
	May   func(ctx context.Context) error                    // called before each delivery; after an error, nothing more is sent. nil: always
	Moved func(ctx context.Context) error                    // called after the state of a delivery has changed. nil: not called
}

// Summary counts the deliveries of a run.
type Summary struct {
	Accepted   int `json:"accepted"`
	Refused    int `json:"refused"`
	Suppressed int `json:"suppressed"`
	GivenUp    int `json:"given_up"`
	Waiting    int `json:"waiting"` // due, but not accepted
}

// run is one run.
type run struct {
	Options
	Summary
	today      int            // deliveries accepted since midnight UTC
	lastHour   map[string]int // deliveries accepted in the last hour, by Organizational Domain
	suppressed map[string]report.Suppression
	server     *Connection
	down       error // why the server is not used any more in this run
	ready      bool
}

// Run makes the deliveries that are due, those of the reports with most rows first. It returns an error if the database, the checks or the
// server failed. Only one process may run it at a time.
func Run(ctx context.Context, o Options) (Summary, error) {
	r := &run{Options: o}
	if r.Due == nil {
		r.Due = Due
	}
	err := r.all(ctx)
	if r.server != nil {
		r.server.Close()
	}
	return r.Summary, err
}

func (r *run) all(ctx context.Context) error {
	now := r.Now()
	late, err := r.State.GiveUp(ctx, now.Add(-GiveUpAfter))
	if err != nil {
		return err
	}
	for _, d := range late {
		r.GivenUp++
		r.Log.Error("a report was not accepted for three days and is given up", "report", d.Report.ID, "domain", d.Report.Domain, "destination", d.Destination, "error", d.Detail)
	}
	if r.today, _, err = r.State.Accepted(ctx, report.Day(now)); err != nil {
		return err
	}
	if _, r.lastHour, err = r.State.Accepted(ctx, now.Add(-time.Hour)); err != nil {
		return err
	}
	if r.suppressed, err = r.State.Suppressed(ctx); err != nil {
		return err
	}
	all, err := r.State.Due(ctx)
	if err != nil {
		return err
	}
	for _, d := range all {
		if r.Only != "" && d.Report.Domain != r.Only || !r.Early && r.Due(d.Report.Domain, d.Report.Day).After(now) {
			continue
		}
		if err := errors.Join(ctx.Err(), r.deliver(ctx, d)); err != nil {
			return err
		}
	}
	return r.down
}

// deliver passes one delivery to the server. It returns an error if the run cannot continue.
func (r *run) deliver(ctx context.Context, d report.Delivery) error {
	if _, suppressed := r.suppressed[strings.ToLower(d.Destination)]; suppressed {
		r.Suppressed++
		return r.move(ctx, d, report.StageSuppressed, "")
	}
	if r.down != nil || r.today >= r.PerDay || r.lastHour[d.Organization] >= r.PerHour {
		r.Waiting++
		return nil
	}
	if err := r.connect(ctx); err != nil {
		return err
	}
	if r.down != nil {
		r.Waiting++
		return nil
	}
	frozen, _, found, err := r.State.Find(ctx, d.Report.ID)
	if err != nil || !found { // a report that is not found was deleted by hand
		return err
	}
	d.Report = frozen
	if r.May != nil {
		if r.down = r.May(ctx); r.down != nil {
			r.Waiting++
			return nil
		}
	}
	if err := r.State.Try(ctx, d.Report.ID, d.Destination); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // if the run is stopped now, the reply is still recorded
	err = r.server.Send(report.EnvelopeSender(d.MAC, d.Report.SenderDomain), d.Destination, Message(d))
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		r.Refused++
		r.Log.Warn("the SMTP server rejects a report", "report", d.Report.ID, "domain", d.Report.Domain, "destination", d.Destination, "error", err)
		return r.move(ctx, d, report.StageRefused, err.Error())
	case err != nil:
		r.Waiting++
		if r.down = lost(err); r.down != nil {
			r.server.Close()
			r.server = nil
		}
		return r.State.Tried(ctx, d.Report.ID, d.Destination, err.Error())
	}
	r.Accepted++
	r.today++
	r.lastHour[d.Organization]++
	r.Log.Info("report sent", "report", d.Report.ID, "domain", d.Report.Domain, "destination", d.Destination)
	return r.move(ctx, d, report.StageAccepted, "")
}

// move records the stage of a delivery.
func (r *run) move(ctx context.Context, d report.Delivery, to report.Stage, detail string) error {
	err := r.State.Move(ctx, d.Report.ID, d.Destination, to, detail)
	if err != nil || r.Moved == nil {
		return err
	}
	return r.Moved(ctx)
}

// connect checks whether reports may be sent, and connects to the server.
func (r *run) connect(ctx context.Context) error {
	if !r.ready {
		if err := r.Ready(ctx); err != nil {
			return err
		}
		r.ready = true
	}
	if r.server == nil {
		var err error
		if r.server, err = r.Server.Dial(ctx); err != nil {
			r.server = nil
			r.down = fmt.Errorf("connecting to %s: %w", r.Server.Addr, err)
		}
	}
	return nil
}

// Message returns the message of a delivery whose report has its attachment. It is the same each time.
func Message(d report.Delivery) []byte {
	f := d.Report
	return Mail{From: f.Email, OrgName: f.OrgName, To: d.Destination, Subject: report.Subject(f.Domain, f.SenderDomain, f.ID),
		MessageID: f.ID + "." + d.MAC[:min(len(d.MAC), 8)] + "@" + f.SenderDomain, Date: f.Created, Domain: f.Domain,
		Begin: f.Day, End: f.Day.AddDate(0, 0, 1).Add(-time.Second), File: f.File, Gzip: f.Gzip}.Bytes()
}
