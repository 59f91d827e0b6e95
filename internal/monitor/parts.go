package monitor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"signpost/internal/cli"
	"signpost/internal/doctor"
	"signpost/internal/journal"
	"signpost/internal/metrics"
	"signpost/keys"
	"signpost/milter"
)

// withSystemd returns commands of systemd, or otherwise if the service manager is another one.
func withSystemd(commands, otherwise string) string {
	if doctor.RunsSystemd() {
		return commands
	}
	return otherwise
}

// daemonFix restarts the daemon, and shows why it does not run.
func daemonFix() string {
	return withSystemd("systemctl restart signpost\njournalctl -u signpost -n 30", "signpost doctor")
}

// daemon negotiates the milter protocol at each socket, as Postfix does. With metrics.listen, it also reads how many messages the
// journal lost.
func (s Source) daemon(ctx context.Context) (p part) {
	errs, took := make([]error, len(s.Sockets)), make([]time.Duration, len(s.Sockets))
	var negotiations sync.WaitGroup
	for i, socket := range s.Sockets {
		negotiations.Go(func() {
			start := time.Now()
			errs[i] = milter.Identify(ctx, socket.Network, socket.Address)
			took[i] = time.Since(start)
		})
	}
	negotiations.Wait()
	slowest := time.Duration(0)
	for i, socket := range s.Sockets {
		switch err := errs[i]; {
		case err == nil:
			slowest = max(slowest, took[i])
		case errors.Is(err, milter.ErrAnother):
			p.problems = append(p.problems, problem{state: cli.Critical, text: "another milter answers at " + socket.Address})
		case ctx.Err() != nil:
			p.problems = append(p.problems, problem{state: cli.Critical, text: fmt.Sprintf("the daemon does not answer at %s: timeout after %s", socket.Address, took[i].Round(100*time.Millisecond)), fix: daemonFix()})
		default:
			p.problems = append(p.problems, silent(socket, err))
		}
	}
	if slowest > 0 {
		p.data = append(p.data, datum{label: "answer", value: slowest.Round(time.Microsecond).Seconds(), unit: "s", most: s.Timeout.Seconds()})
	}
	p.good = "the daemon answers"
	if s.Metrics != "" && s.Journal != nil && len(p.problems) == 0 {
		s.losses(ctx, &p)
	}
	return p
}

// silent returns the problem of a socket that refuses connections or cannot be opened.
func silent(socket Socket, err error) problem {
	cause := err
	if op := (*net.OpError)(nil); errors.As(err, &op) { // its text would repeat the address
		cause = op.Err
	}
	p := failure(cli.Critical, "the daemon does not answer at "+socket.Address+": ", cause)
	p.fix = daemonFix()
	if socket.Network == "unix" && errors.Is(err, fs.ErrPermission) {
		p.fix = ""
		p.state, p.hint = cli.Unknown, cli.Hint(&fs.PathError{Op: "open", Path: socket.Address, Err: fs.ErrPermission})
	}
	return p
}

// keys checks the keys as dkimkey status does, and the time since the last run of rotate.
func (s Source) keys(context.Context) (p part) {
	now := s.Now()
	set, err := s.Keys()
	var hosted map[string]bool
	if err == nil {
		hosted, err = s.Hosted()
	}
	if err != nil {
		p.problems = append(p.problems, failure(cli.Critical, "keys: ", err))
		return p
	}
	unsigned := set.Unsigned(hosted)
	for _, domain := range unsigned {
		p.problems = append(p.problems, problem{state: cli.Critical, text: domain + ": no active key for a hosted domain: " + keys.Remedy(domain, set.Of(domain)),
			domain: domain, fix: keys.Remedy(domain, set.Of(domain))})
	}
	needed, signing := 0, 0
	var oldest time.Time // creation of the oldest key that rotate manages
	for _, k := range set.Status(s.Rules, now) {
		if k.Signs || k.Elsewhere {
			signing++
		}
		if m := k.Metadata; m != nil && k.State != keys.Removed && (oldest.IsZero() || m.Created.Before(oldest)) {
			oldest = m.Created
		}
		name := strings.TrimSpace(k.Domain+" "+k.Selector) + ": "
		switch {
		case k.Unusable():
			state := cli.Warning
			if k.State == keys.Active || k.Selector == "" { // without a selector, the directory of the domain cannot be used
				state = cli.Critical
			}
			found := failure(state, name+"cannot be used: ", k.Err)
			found.domain = k.Domain
			p.problems = append(p.problems, found)
		case k.Action != "":
			p.problems = append(p.problems, problem{state: cli.Warning, text: name + k.Action, domain: k.Domain, fix: k.Fix})
		default:
			continue
		}
		needed++
	}
	for _, path := range set.Misplaced() {
		p.problems = append(p.problems, problem{state: cli.Warning, text: path + ": key file is outside of a domain's directory and is not used"})
	}
	if p.good = fmt.Sprintf("signing keys %d for hosted domains %d", signing, len(hosted)); signing == 0 {
		p.good = "no domain has a signing key"
	}
	p.data = append(p.data, datum{label: "signing_keys", value: float64(signing)}, datum{label: "keys_action_needed", value: float64(needed + len(set.Misplaced()))},
		datum{label: "hosted_domains", value: float64(len(hosted))}, datum{label: "unsigned_domains", value: float64(len(unsigned))})
	if !oldest.IsZero() {
		s.rotation(&p, now, oldest)
	}
	return p
}

// clockSlack is how far the time of the last rotation may be in the future.
const clockSlack = time.Hour

// rotation checks the time since the last run of rotate without an error. If there was none, the time since the creation of the oldest key
// counts.
func (s Source) rotation(p *part, now, oldest time.Time) {
	last, err := s.LastRun()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.problems = append(p.problems, failure(cli.Warning, "rotate: ", err))
		return
	}
	since, text := last.Succeeded(), "dkimkey rotate succeeded %s ago"
	if since.IsZero() {
		since, text = oldest, "dkimkey rotate has not succeeded yet, and the oldest key is %s old"
	}
	age := now.Sub(since)
	text = fmt.Sprintf(text, ago(age))
	if last.Failed {
		text += ", and failed " + ago(now.Sub(last.At)) + " ago"
	}
	const remedy = ": check dkimkey-rotate.timer, or run dkimkey rotate to see the cause"
	rotateFix := withSystemd("systemctl status dkimkey-rotate.timer\ndkimkey rotate", "dkimkey rotate")
	switch {
	case age < -clockSlack:
		p.problems = append(p.problems, problem{state: cli.Warning, text: "the last dkimkey rotate is in the future: check the clock"})
	case s.RotateCritical > 0 && age > s.RotateCritical:
		p.problems = append(p.problems, problem{state: cli.Critical, text: text + remedy, fix: rotateFix})
	case s.RotateWarning > 0 && age > s.RotateWarning:
		p.problems = append(p.problems, problem{state: cli.Warning, text: text + remedy, fix: rotateFix})
	default:
		p.good += "; " + text
	}
	p.data = append(p.data, datum{label: "rotate_age", value: max(0, age.Round(time.Second).Seconds()), unit: "s", warn: s.RotateWarning.Seconds(), critical: s.RotateCritical.Seconds()})
}

// lossTime is how long a message that the journal lost is a problem.
const lossTime = time.Hour

// journal checks that the journal can be read and is not damaged, and reads its size. Faults of the journal do not affect mail, so they are
// warnings.
func (s Source) journal(ctx context.Context) (p part) {
	if s.Journal == nil {
		p.good = "journal disabled"
		return p
	}
	warn := func(format string, args ...any) {
		p.problems = append(p.problems, problem{state: cli.Warning, text: "journal: " + fmt.Sprintf(format, args...)})
	}
	if _, err := os.Lstat(s.Journal.File + ".broken"); err == nil {
		warn("it was damaged and a new one was created; delete %s.broken when you do not need it", s.Journal.File)
	}
	r, err := s.Journal.Open()
	if err != nil {
		p.problems = append(p.problems, failure(cli.Warning, "journal: ", err))
		return p
	}
	defer r.Close()
	if r.Frozen {
		warn("the file system of %s is mounted read-only", s.Journal.File)
	}
	size, newest, err := r.Size(ctx)
	if err != nil {
		p.problems = append(p.problems, failure(cli.Warning, "", journal.Reading(s.Journal.File, err)))
		return p
	}
	p.data = append(p.data, datum{label: "journal_size", value: float64(size), unit: "B", most: float64(s.Journal.MaxSize)})
	p.good = fmt.Sprintf("journal %d MiB, empty", size>>20)
	if newest.UnixMicro() > 0 {
		age := max(0, s.Now().Sub(newest))
		p.good = fmt.Sprintf("journal %d MiB, last message %s ago", size>>20, ago(age))
		p.data = append(p.data, datum{label: "last_message_age", value: age.Round(time.Second).Seconds(), unit: "s"})
	}
	return p
}

// losses reads the number of messages that the journal lost from the daemon's metrics. A loss is a problem for lossTime.
func (s Source) losses(ctx context.Context, p *part) {
	values, err := metrics.Read(ctx, s.Metrics)
	if err != nil {
		p.problems = append(p.problems, problem{state: cli.Warning, text: "no metrics at " + s.Metrics + " (metrics.listen), so it is not known whether the journal lost messages"})
		return
	}
	total, ok := values.Sum(metrics.LostTotal)
	at, _ := values.Sum(metrics.LostTime)
	if since := s.Now().Sub(time.Unix(int64(at), 0)); at > 0 && since < lossTime {
		p.problems = append(p.problems, problem{state: cli.Warning, text: fmt.Sprintf("journal: %.0f messages lost since the daemon started, the last one %s ago", total, ago(since))})
	}
	if ok {
		p.data = append(p.data, datum{label: "journal_lost", value: total, unit: "c"})
	}
}
