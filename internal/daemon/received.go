package daemon

import (
	"path/filepath"
	"sync"
	"time"

	"signpost/internal/config"
	"signpost/internal/filter"
	"signpost/internal/setup"
	"signpost/internal/spool"
)

// receivedDir is below state_dir.
const receivedDir = "reports/in"

// ReceivedSpool returns the spool of the reports that others sent. The first line of each message in it is the JSON of a read.Arrived; the
// message as it arrived follows.
func ReceivedSpool(conf *config.Config) spool.Dir {
	return spool.Dir{Path: filepath.Join(conf.StateDir, receivedDir), Limits: spool.Reports()}
}

// received returns what the filter does with reports of others. It returns nil if reports.receive.addresses is empty.
func (d *service) received(conf *config.Config) *filter.Reports {
	addresses := conf.Reports.Receive.Addresses
	if len(addresses) == 0 {
		return nil
	}
	return &filter.Reports{Addresses: addresses, Delimiter: conf.RecipientDelimiter, Create: func() (*spool.Draft, error) {
		if err := setup.KeyStore(conf).MakeState(receivedDir); err != nil { // without confinement, the directory is not created at the start
			return nil, err
		}
		return d.intake.Create()
	}, Lost: func(err error) {
		if n := d.copiesLost.count(time.Now()); n > 0 {
			d.log.Warn("no copy of a message to a report address is kept, it is only delivered", "messages", n, "error", d.hintConfined(err))
		}
	}}
}

// sparse limits how often an event is logged.
type sparse struct {
	mu     sync.Mutex
	events int // since the last line
	logged time.Time
}

// sparseInterval is the minimum time between two lines.
const sparseInterval = time.Minute

// count counts an event. It returns the number of events since the last line if a line is due, otherwise 0.
func (s *sparse) count(now time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events++
	if now.Sub(s.logged) < sparseInterval {
		return 0
	}
	n := s.events
	s.events, s.logged = 0, now
	return n
}
