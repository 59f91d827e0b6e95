package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// StatusName is the name of the file in STATE_DIR/cluster with the Status of this host.
const StatusName = "status.json"

// WrittenEvery is the longest time between two writes of the status file.
const WrittenEvery = 30 * time.Second

// ReadStatus reads the status file. Its error is fs.ErrNotExist if "signpost cluster run" has never written the file.
func ReadStatus(path string) (s Status, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("%s: not a valid status file", path)
	}
	return s, nil
}

// Concern is something in the cluster that an operator should know.
type Concern struct {
	Severe bool   // this host does not synchronize, or the database was tampered with
	What   string // the problem, in one line
	Why    string // why it matters
	Fix    string // a command
}

const (
	// maxClock is the largest difference between the clock of a host and that of the database without a concern. The steps of a rotation
	// are hours apart, so seconds do not matter.
	maxClock = 30 * time.Second
	// outage is how long the database may be unreachable without a concern. A restart or failover of the database takes less.
	outage = 2 * time.Minute
	// maxLag is how long a message may wait to be copied without a concern.
	maxLag = time.Hour
	// lostShown is how long lost messages are a concern.
	lostShown = 24 * time.Hour
	// maxShown is the number of refused rows that are named.
	maxShown = 10
)

// Concerns returns what needs the attention of the operator, the severe ones first. The parameters s and err are the results of ReadStatus.
func Concerns(s Status, err error, now time.Time) (all []Concern) {
	const logs = "journalctl -u signpost-cluster"
	why := "changes of keys and rules do not reach this host; it continues with its own files"
	if err != nil {
		text := err.Error()
		if at := (*fs.PathError)(nil); errors.As(err, &at) {
			text = at.Path + ": " + at.Err.Error()
		}
		c := Concern{Severe: true, What: "the state of the cluster is unknown: " + text, Why: why, Fix: logs}
		if errors.Is(err, fs.ErrNotExist) {
			c.What, c.Fix = "signpost-cluster has never run on this host", "systemctl enable --now signpost-cluster"
		}
		return []Concern{c}
	}
	add := func(severe bool, fix, why, format string, args ...any) {
		all = append(all, Concern{severe, fmt.Sprintf(format, args...), why, fix})
	}
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	if now.Sub(s.At) > MissingAfter {
		add(true, "systemctl restart signpost-cluster", why, "signpost-cluster is not running: it last wrote its state at %s", at(s.At))
	}
	if s.Error != "" && s.Database.Reachable {
		add(true, logs, why, "the last synchronization failed: %s", s.Error)
	}
	for i, r := range s.Refused {
		what := fmt.Sprintf("a row of the database was refused: %s %s: %s", r.Table, r.Name, r.Reason)
		if i == maxShown {
			what = fmt.Sprintf("%d further rows of the database were refused", len(s.Refused)-i)
		}
		add(true, "docs/cluster.md, \"If a row is refused\"", "a row that does not verify was not written by a host of this cluster, or the site key differs", "%s", what)
		if i == maxShown {
			break
		}
	}
	if !s.Database.Reachable {
		if now.Sub(s.Database.Since) > outage {
			add(false, logs, why, "the database has not been reachable since %s", at(s.Database.Since))
		}
		return all // what is known of the other hosts is old
	}
	if s.Leader == "" && s.Error == "" {
		add(false, logs, "keys are not rotated until a host holds the lease", "no host holds the lease")
	}
	if s.Reports != nil {
		for _, name := range s.Reports.Late {
			add(false, "systemctl status signpost-reports.timer # on host "+name, "the DMARC reports about this day lack its messages until it does; after three days, they are not reported",
				"host %s has not shipped all counts of %s", name, s.Reports.Day)
		}
	}
	if m := s.Messages; m != nil {
		const why = "signpost log --all-hosts and explain --all-hosts do not find the messages"
		switch lag := now.Sub(m.Since); {
		case m.Error != "" && s.Error == "" && (m.Since.IsZero() || lag > outage):
			add(false, logs, why, "messages of this host are not copied to the database: %s", m.Error)
		case !m.Since.IsZero() && lag > maxLag:
			add(false, logs, why, "%d messages of this host wait to be copied to the database, the oldest since %s", m.Waiting, at(m.Since))
		}
		if now.Sub(m.LostAt) < lostShown {
			add(false, "docs/cluster.md, \"Messages of all hosts\"", why, "messages of this host that were not copied to the database before the journal deleted them: %d; the last were noticed at %s", m.Lost, at(m.LostAt))
		}
	}
	for _, h := range s.Hosts {
		switch {
		case h.Missing && h.Seen.IsZero():
			add(false, "signpost cluster leave "+h.Name+" # if the host no longer exists", "no key is activated or withdrawn until the host has the present version",
				"host %s is registered, but has never synchronized", h.Name)
		case h.Missing:
			add(false, "signpost cluster leave "+h.Name+" # if the host no longer exists", "no key is activated or withdrawn until the host has the present version",
				"host %s has not synchronized since %s", h.Name, at(h.Seen))
		case time.Duration(h.ClockMS)*time.Millisecond > maxClock, time.Duration(-h.ClockMS)*time.Millisecond > maxClock:
			add(false, "timedatectl timesync-status # on host "+h.Name, "the steps of a rotation are taken at the wrong time",
				"the clock of host %s differs from that of the database by %d s", h.Name, h.ClockMS/1000)
		}
		if missing := lacking(s, h); missing != "" && !h.Missing {
			add(false, "signpost cluster join # on host "+h.Name+", with the key file of this host", "the host refuses rows that are sealed with this key",
				"host %s does not have the site key %s", h.Name, missing)
		}
	}
	slices.SortStableFunc(all, func(a, b Concern) int {
		if a.Severe == b.Severe {
			return 0
		} else if a.Severe {
			return -1
		}
		return 1
	})
	return all
}

// lacking returns a site key that this host has and h does not have, or "".
func lacking(s Status, h Host) string {
	for _, id := range s.KeyIDs {
		if !slices.Contains(h.KeyIDs, id) {
			return id
		}
	}
	return ""
}
