package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/report/status"
	"signpost/internal/testdns"
)

// readArchive is an archive that receives reports about example.org.
func readArchive(t *testing.T) *archive {
	t.Helper()
	s, err := testdns.Start(`_dmarc.example.org. IN TXT "v=DMARC1; p=none"`)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	a := newArchive(t)
	put(t, a.file, fmt.Sprintf("state_dir = %q\n[dns]\nservers = [%q]\n[reports.receive]\naddresses = [\"rua@example.org\"]\nnetworks = [\"192.0.2.0/24\"]\ntrusted_reporters = [\"reporter.test\"]\n",
		a.dir, s.Addr()))
	for _, dir := range []string{"keys", "hosted", "reports/in"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(a.dir, "hosted", "example.org"), "")
	return a
}

// arrives puts a message into the spool, as the daemon does.
func (a *archive) arrives(n int, reporter, body string) {
	a.t.Helper()
	head := fmt.Sprintf(`{"queue_id":"4fXy%d","received":%q,"recipient":"rua@example.org","reporter":%q}`, n, time.Now().UTC().Format(time.RFC3339), reporter)
	put(a.t, filepath.Join(a.dir, "reports", "in", fmt.Sprintf("20261201T050000.%06d-A.eml", n)), head+strings.Repeat(" ", 100)+"\nFrom: noreply@"+reporter+"\r\nContent-Type: text/xml\r\n\r\n"+body)
}

// aggregate is a report about yesterday: 200 messages pass with SPF from an address.
func aggregate(id, source string) string {
	begin := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -1).Unix()
	return fmt.Sprintf(`<?xml version="1.0"?><feedback><report_metadata><org_name>R</org_name><email>noreply@reporter.test</email><report_id>%s</report_id>
<date_range><begin>%d</begin><end>%d</end></date_range></report_metadata><policy_published><domain>example.org</domain><p>none</p></policy_published>
<record><row><source_ip>%s</source_ip><count>200</count><policy_evaluated><disposition>none</disposition><dkim>fail</dkim><spf>pass</spf></policy_evaluated></row>
<identifiers><header_from>example.org</header_from></identifiers><auth_results><spf><domain>example.org</domain><result>pass</result></spf></auth_results></record></feedback>`, id, begin, begin+86399, source)
}

// reports read stores what the daemon has kept, raises an alarm about a source that is neither ours nor known, and leaves its result for check.
func TestReportsRead(t *testing.T) {
	a := readArchive(t)
	a.arrives(1, "reporter.test", aggregate("1", "192.0.2.1"))
	a.arrives(2, "reporter.test", aggregate("2", "198.51.100.1"))
	a.arrives(3, "reporter.test", aggregate("2", "198.51.100.1"))
	a.arrives(4, "", aggregate("3", "198.51.100.1"))
	a.arrives(5, "reporter.test", "<feedback><report_metadata>")
	code, out, stderr := a.run("reports", "read")
	if code != 0 || out != "stored: 2, duplicate: 1, unverified: 1, unreadable: 1\n" {
		t.Errorf("%d %s%s", code, out, stderr)
	}
	for _, want := range []string{`msg="received reports raise an alarm" code=unknown_source domain=example.org source_ip=198.51.100.1 reporters=reporter.test messages=200 total=400`,
		`msg="a received report is dropped" queue_id=4fXy4`, `msg="a received report cannot be read" queue_id=4fXy5 reporter=reporter.test`} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %s in\n%s", want, stderr)
		}
	}
	if left, err := os.ReadDir(filepath.Join(a.dir, "reports", "in")); err != nil || len(left) > 0 {
		t.Errorf("left in the spool: %v, %v", left, err)
	}
	a.arrives(6, "reporter.test", aggregate("1", "192.0.2.1"))
	code, out, stderr = a.run("reports", "read", "--json")
	var got struct {
		Run map[string]int
		status.Received
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || got.Run["duplicate"] != 1 || got.Read[status.Stored] != 2 || got.Read[status.Duplicate] != 2 || len(got.Alarms) != 1 || !got.OK || strings.Contains(stderr, "alarm") {
		t.Errorf("%d %s%s %v", code, out, stderr, err)
	}
	if _, out, _ := a.run("check"); !strings.Contains(out, "example.org: mail from 198.51.100.1 passes SPF, but this source is not known: 200 of 400 messages since ") || !strings.Contains(out, "report_alarms=1") {
		t.Errorf("check: %s", out)
	}
}

// If the reports cannot be read, the exit code is 1, and the result states why, so that check, doctor and the alerts notice. Without addresses, nothing
// is done.
func TestReportsReadFails(t *testing.T) {
	a := readArchive(t)
	put(t, filepath.Join(a.dir, "reports", "received.db"), strings.Repeat("not a database", 1000))
	a.arrives(1, "reporter.test", aggregate("1", "192.0.2.1"))
	code, _, stderr := a.run("reports", "read")
	if text, err := os.ReadFile(filepath.Join(a.dir, "reports", "status", "received.json")); err != nil || code != 1 || !strings.Contains(stderr, "received.db: ") || !strings.Contains(string(text), `"ok":false`) {
		t.Errorf("%d %s %s %v", code, stderr, text, err)
	}
	if left, err := os.ReadDir(filepath.Join(a.dir, "reports", "in")); err != nil || len(left) != 1 {
		t.Errorf("left in the spool: %v, %v; want the report", left, err)
	}
	idle := newArchive(t)
	if code, out, stderr := idle.run("reports", "read"); code != 0 || out+stderr != "" {
		t.Errorf("%d %s%s", code, out, stderr)
	}
}
