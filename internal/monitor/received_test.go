package monitor

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"time"

	"signpost/internal/report/status"
)

// Alarms of received reports, and a worker that does not run, are warnings. Many alarms do not hide other problems.
func TestReceived(t *testing.T) {
	now := time.Date(2026, 12, 1, 5, 0, 0, 0, time.UTC)
	since := now.AddDate(0, 0, -4)
	alarm := status.Alarm{Code: status.UnknownSource, Domain: "example.org", Source: netip.MustParseAddr("198.51.100.7"), Sources: 3, Signer: "example.org", Selector: "news", Messages: 120, Since: since, Reporters: []string{"r.test"}}
	var many []status.Alarm
	for n := range 9 {
		many = append(many, status.Alarm{Code: status.TLSFailure, Domain: fmt.Sprintf("d%d.example", n), Failure: "certificate-expired", Messages: 20, Total: 100, Since: since, Reporters: []string{"r.test"}})
	}
	for _, c := range []struct {
		name string
		r    status.Received
		err  error
		want []string // texts of the problems
	}{
		{"well", status.Received{LastRun: now.Add(-time.Hour), OK: true}, nil, nil},
		{"never", status.Received{}, fs.ErrNotExist, []string{"signpost reports read has never run: enable signpost-reports.timer"}},
		{"damaged", status.Received{}, errors.New("received.json cannot be read"), []string{"received reports: received.json cannot be read"}},
		{"failed", status.Received{LastRun: now, Error: "no space left\nhint: more"}, nil, []string{"signpost reports read failed: no space left"}},
		{"stopped", status.Received{LastRun: now.Add(-25 * time.Hour), OK: true}, nil, []string{"signpost reports read has not run for 25 h"}},
		{"alarm", status.Received{LastRun: now, OK: true, Alarms: []status.Alarm{alarm}}, nil,
			[]string{"example.org: mail from 3 addresses, such as 198.51.100.7, passes DKIM with news._domainkey.example.org, but these sources are not known: 120 messages since 2026-11-27, by r.test"}},
		{"many", status.Received{LastRun: now, OK: true, Alarms: many, Omitted: 5}, nil, []string{
			"d0.example: TLS sessions fail (certificate-expired): 20 of 100 since 2026-11-27, by r.test", "d1.example: TLS sessions fail (certificate-expired): 20 of 100 since 2026-11-27, by r.test",
			"d2.example: TLS sessions fail (certificate-expired): 20 of 100 since 2026-11-27, by r.test", "11 more alarms of received reports: signpost reports received"}},
	} {
		s := Source{Now: func() time.Time { return now }, Received: func() (status.Received, error) { return c.r, c.err }}
		var got []string
		for _, p := range s.received(t.Context()).problems {
			got = append(got, p.text)
		}
		if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s:\n%s\nwant:\n%s", c.name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
	if p := (Source{}).received(t.Context()); len(p.problems) > 0 || p.good != "" {
		t.Errorf("no reports are received: %+v", p)
	}
}
