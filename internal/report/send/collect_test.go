package send

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/journal"
	"signpost/internal/report"
	"signpost/internal/testdns"
	verdict "signpost/policy"
)

// Domains whose DNS does not answer delay the deliveries only for a limited time. The day is computed again later.
func TestCollectIsLimited(t *testing.T) {
	s := newSite(t)
	day := report.Day(s.now).AddDate(0, 0, -1)
	path := filepath.Join(t.TempDir(), "journal", "journal.db")
	j := journal.Open(journal.Options{Path: path, Limits: journal.Limits{Keep: 14 * 24 * time.Hour, MaxSize: 512 << 20, Addresses: journal.Full},
		Now: func() time.Time { return day.Add(time.Hour) }, Log: slog.New(slog.DiscardHandler), Lost: func(journal.Cause, int) { t.Error("messages were lost") }})
	for i := range 50 {
		name := fmt.Sprintf("d%d.slow.test", i)
		j.Add(&decision.Record{Version: decision.Version, Code: verdict.DMARCPass, Assignment: verdict.Assignment{Role: verdict.RoleVerify},
			Verdict: verdict.Verdict{Action: verdict.Accept, Reasons: []verdict.Reason{{Code: verdict.DMARCPass, Domain: name}}},
			Evidence: verdict.Evidence{Connection: verdict.Connection{Client: netip.MustParseAddr("192.0.2.1"), SMTP: true},
				DMARC: []dmarc.Result{{Status: dmarc.Pass, Domain: name, OrgDomain: name, PolicyDomain: name, Record: "v=DMARC1; p=none; rua=mailto:d@" + name,
					Aligned: &dmarc.AlignedIdentifier{Method: dmarc.DKIM, Domain: name}}}}})
	}
	j.Close()
	zone, err := testdns.Start(";fault *.slow.test TIMEOUT\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(zone.Stop)
	past, err := journal.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer past.Close()
	var log bytes.Buffer
	c := Collection{State: s.State, Key: report.Key(strings.Repeat("k", 32)), Sender: report.Sender{Domain: "reports.b.test", OrgName: "B", Email: "dmarc@reports.b.test"},
		Resolver: dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(zone.Addr())}, Timeout: time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler)}),
		Now:      s.Now, MaxTime: 2500 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&log, nil))}
	begin := time.Now()
	complete, err := c.Collect(t.Context(), past, day)
	if took := time.Since(begin); complete || err != nil || took > 30*time.Second {
		t.Errorf("complete %v, error %v, %v", complete, err, took)
	}
	if !strings.Contains(log.String(), "in time, later") || !strings.Contains(log.String(), "cannot be looked up, later") {
		t.Errorf("log:\n%s", log.String())
	}
	if done, err := s.State.Collected(t.Context(), day); done || err != nil {
		t.Errorf("collected %v %v", done, err)
	}
}
