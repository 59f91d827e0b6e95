package daemon

import (
	"encoding/json"
	"os"
	"path/filepath"

	"signpost/internal/config"
	"signpost/internal/durable"
	"signpost/internal/filter"
	"signpost/internal/metrics"
	"signpost/internal/report"
	"signpost/internal/report/status"
	"signpost/internal/setup"
	"signpost/internal/spool"
)

// maxAddress is the maximum length of an address in bytes: RFC 5321 section 4.5.3.1.
const maxAddress = 320

// These are paths below state_dir.
const (
	bouncesDir   = "reports/bounces"
	bounceKeyDir = "reports/key"
	statusDir    = "reports/status"
)

// BouncesDir returns the spool of notifications about reports that could not be delivered. The first line of each message in it is the
// recipient.
func BouncesDir(conf *config.Config) string { return filepath.Join(conf.StateDir, bouncesDir) }

// BounceKey returns the file of the key of bounce addresses. It has a directory of its own, to which the daemon has access even if the file is
// created or replaced later.
func BounceKey(conf *config.Config) string {
	return filepath.Join(conf.StateDir, bounceKeyDir, "bounce.key")
}

// bounces returns what the filter does with bounces of reports. signpost reports send reads them. It returns nil if no reports are sent.
func (d *service) bounces(conf *config.Config) *filter.Bounces {
	domain := conf.ReportsDomain()
	if domain == "" {
		return nil
	}
	return &filter.Bounces{Domain: domain, Others: conf.ReportAddresses(), MaxSize: spool.MaxBounce - maxAddress - 1, Received: func(recipient string, message []byte) {
		keys, err := report.ReadKeys(BounceKey(conf))
		if mac, ok := report.ParseEnvelopeSender(recipient, domain); err == nil && (!ok || !keys.Made(mac)) {
			return // otherwise, anyone could fill the spool
		}
		if err == nil {
			err = setup.KeyStore(conf).MakeState(bouncesDir) // without confinement, the directory is not created at the start
		}
		if err == nil {
			err = spool.Dir{Path: BouncesDir(conf), Limits: spool.Bounces()}.Add(append([]byte(recipient+"\n"), message...))
		}
		if err != nil {
			d.log.Warn("the bounce of a report is lost", "error", d.hintConfined(err))
		}
		d.metrics.Bounced(err == nil)
	}}
}

// ReportsStatus returns the file with the metrics.Reports of the last run of signpost reports send. It has a directory of its own, because
// the daemon may not read the database of the reports.
func ReportsStatus(conf *config.Config) string {
	return filepath.Join(conf.StateDir, statusDir, "status.json")
}

// reports returns the state of the reports. It is zero if there was no run, or no reports are sent.
func (d *service) reports(conf *config.Config) (r metrics.Reports) {
	if !conf.Reports.Send.Enabled {
		return r
	}
	if data, err := os.ReadFile(ReportsStatus(conf)); err == nil && json.Unmarshal(data, &r) != nil {
		return metrics.Reports{}
	}
	return r
}

// received returns the result of the last run of signpost reports read. It is zero if there was none, or no reports are received.
func received(conf *config.Config) status.Received {
	if len(conf.Reports.Receive.Addresses) == 0 {
		return status.Received{}
	}
	path := conf.ReceivedStatus()
	r, err := status.Load(durable.Tree{filepath.Dir(path)}, path) // the confined daemon cannot open state_dir itself
	if err != nil {
		return status.Received{}
	}
	return r
}
