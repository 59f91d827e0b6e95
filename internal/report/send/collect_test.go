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

// Domains whose DNS does not answer delay the reports about others only for a limited time. Each attempt ends in time, and the next one
// begins with the domains whose lookup has not failed yet.
func TestSlowDomains(t *testing.T) {
	s := newSite(t)
	day := report.Day(s.now).AddDate(0, 0, -1)
	path := filepath.Join(t.TempDir(), "journal", "journal.db")
	j := journal.Open(journal.Options{Path: path, Limits: journal.Limits{Keep: 14 * 24 * time.Hour, MaxSize: 512 << 20, Addresses: journal.Full},
		Now: func() time.Time { return day.Add(time.Hour) }, Log: slog.New(slog.DiscardHandler), Lost: func(journal.Cause, int) { t.Error("messages were lost") }})
	names := []string{"fast1.test", "fast2.test", "fast3.test", "fast4.test"}
	for i := range 60 {
		names = append(names, fmt.Sprintf("d%d.slow.test", i))
	}
	for _, name := range names {
		j.Add(&decision.Record{Version: decision.Version, Code: verdict.DMARCPass, Assignment: verdict.Assignment{Role: verdict.RoleVerify},
			Verdict: verdict.Verdict{Action: verdict.Accept, Reasons: []verdict.Reason{{Code: verdict.DMARCPass, Domain: name}}},
			Evidence: verdict.Evidence{Connection: verdict.Connection{Client: netip.MustParseAddr("192.0.2.1"), SMTP: true},
				DMARC: []dmarc.Result{{Status: dmarc.Pass, Domain: name, OrgDomain: name, PolicyDomain: name, Record: "v=DMARC1; p=none; rua=mailto:d@" + name,
					Aligned: &dmarc.AlignedIdentifier{Method: dmarc.DKIM, Domain: name}}}}})
	}
	j.Close()
	zone, err := testdns.Start(";fault *.slow.test TIMEOUT\n_dmarc.fast1.test TXT \"v=DMARC1; p=none; rua=mailto:d@fast1.test\"\n_dmarc.fast2.test TXT \"v=DMARC1; p=none; rua=mailto:d@fast2.test\"\n_dmarc.fast3.test TXT \"v=DMARC1; p=none; rua=mailto:d@fast3.test\"\n_dmarc.fast4.test TXT \"v=DMARC1; p=none\"\n")
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
	attempts := 0
	for ; attempts < 5 && len(s.stages()) < 3; attempts++ {
		begin := time.Now()
		complete, err := c.Collect(t.Context(), past, day)
		if took := time.Since(begin); complete || err != nil || took > 30*time.Second {
			t.Errorf("complete %v, error %v, %v", complete, err, took)
		}
	}
	if attempts == 5 || !strings.Contains(log.String(), "cannot be looked up, later") {
		t.Errorf("%d attempts, frozen: %v, log:\n%s", attempts, s.stages(), log.String())
	}
	if done, err := s.State.Collected(t.Context(), day); done || err != nil {
		t.Errorf("collected %v %v", done, err)
	}
}
