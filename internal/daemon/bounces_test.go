package daemon

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signpost/internal/config"
	"signpost/internal/metrics"
	"signpost/internal/report"
)

// Only bounces to addresses that this site made are kept, so that others cannot fill the spool. Without the key, none is kept.
func TestForgedBouncesAreNotKept(t *testing.T) {
	conf := config.Default()
	conf.StateDir, conf.Reports.Send.From = t.TempDir(), "dmarc@reports.example.org"
	var log bytes.Buffer
	d := &service{log: slog.New(slog.NewTextHandler(&log, nil)), metrics: metrics.New(false, "")}
	received := d.bounces(conf).Received
	kept := func() int {
		all, _ := filepath.Glob(filepath.Join(BouncesDir(conf), "*.eml"))
		return len(all)
	}
	forged := report.EnvelopeSender(strings.Repeat("a", 32), "reports.example.org")
	received(forged, []byte("\n"))
	if kept() != 0 || !strings.Contains(log.String(), "the bounce of a report is lost") {
		t.Errorf("%d kept without the key: %s", kept(), log.String())
	}
	if err := os.MkdirAll(filepath.Dir(BounceKey(conf)), 0o700); err != nil {
		t.Fatal(err)
	}
	key, err := report.LoadKey(BounceKey(conf))
	if err != nil {
		t.Fatal(err)
	}
	log.Reset()
	genuine := report.EnvelopeSender(key.MAC("d@example.com", "id"), "reports.example.org")
	received(strings.ToUpper(genuine), []byte("\n"))
	for range 10 {
		received(forged, []byte("\n"))
		received("r-aaa@reports.example.org", []byte("\n"))
	}
	if kept() != 1 || log.Len() > 0 {
		t.Errorf("%d kept, want 1: %s", kept(), log.String())
	}
}
