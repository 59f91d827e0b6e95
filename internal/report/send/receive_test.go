package send

import (
	"bytes"
	"compress/gzip"
	"database/sql"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/report"
	"signpost/internal/spf"
	verdict "signpost/policy"
)

// dmarc_receive of Mail::DMARC, another implementation, reads each kind of row out of the message that carries a report. The version of Debian
// 12 reads RFC 7489, so it gets a copy without the namespace of RFC 9990. This shows that the message, the attachment, and the names and
// the nesting of the elements are as it expects, also with names that need escapes in XML. It does not show that RFC 9990 is followed where it differs from RFC 7489: see report.xsd.
func TestMailDMARCReads(t *testing.T) {
	program, err := exec.LookPath("dmarc_receive")
	if err != nil {
		t.Skip("dmarc_receive is not installed (Debian: libmail-dmarc-perl)")
	}
	row := func(address string, count int, disposition report.Disposition, more report.Row) report.Row {
		more.Source, more.Count, more.Disposition, more.HeaderFrom = netip.MustParseAddr(address), count, disposition, "example.org"
		return more
	}
	rows := []report.Row{
		row("192.0.2.1", 5, report.DispositionNone, report.Row{DKIM: true, SPF: true, EnvelopeFrom: "example.org", SPFDomain: "example.org", SPFResult: spf.Pass,
			Signatures: []report.Signature{{Domain: "example.org", Selector: "s1", Result: dkim.Pass}, {Domain: "list.example", Selector: "x", Result: dkim.Fail}}}),
		row("2001:db8::1", 4, report.DispositionQuarantine, report.Row{EnvelopeFrom: "example.com", SPFDomain: "example.com", SPFResult: spf.SoftFail}),
		row("192.0.2.2", 3, report.DispositionReject, report.Row{Folded: true}),
		row("192.0.2.3", 2, report.DispositionNone, report.Row{Reasons: []report.Reason{{Type: verdict.MailingList, Comment: "list"}, {Type: verdict.LocalPolicy}},
			Signatures: []report.Signature{{Domain: "example.org", Selector: "<&\"'>", Result: dkim.PermError}}}),
		row("192.0.2.4", 1, report.DispositionPass, report.Row{SPF: true, EnvelopeFrom: "example.org", SPFDomain: "example.org", SPFResult: spf.Pass}),
	}
	r := report.Report{Day: time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC), Rows: rows, Messages: 15, TempErrors: 2,
		Policy: report.Policy{Domain: "example.org", P: "reject", SP: "quarantine", NP: "none", FO: "1:d", StrictDKIM: true, Testing: true}}
	sender := report.Sender{Domain: "reports.example.net", OrgName: "Example & Co.", Email: "dmarc@reports.example.net", Extra: "https://example.net/", Generator: "test"}
	file, err := r.File(sender)
	if err != nil {
		t.Fatal(err)
	}
	file.Gzip = withoutNamespace(t, file.Gzip)
	dir := t.TempDir()
	text := Message(report.Delivery{Report: file.Frozen(&r, sender, r.Day.Add(30*time.Hour)), Destination: "dmarc@example.org", MAC: "abc"})
	if err := os.WriteFile(filepath.Join(dir, "report.eml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), program, "--file", "report.eml")
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "dmarc_reports.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	found, err := db.QueryContext(t.Context(), "SELECT hex(source_ip), count, disposition, dkim, spf, (SELECT count(*) FROM report_record_dkim d WHERE d.report_record_id = r.id), (SELECT count(*) FROM report_record_reason d WHERE d.report_record_id = r.id) FROM report_record r ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	var got []string
	for found.Next() {
		all := make([]string, 7)
		if err := found.Scan(&all[0], &all[1], &all[2], &all[3], &all[4], &all[5], &all[6]); err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.Join(all, " "))
	}
	// The disposition pass is new in RFC 9990: an earlier reader takes it for none.
	want := []string{"C0000201 5 none pass pass 2 0", "20010DB8000000000000000000000001 4 quarantine fail fail 0 0", "C0000202 3 reject fail fail 0 0",
		"C0000203 2 none fail fail 1 2", "C0000204 1 none fail pass 0 0"}
	if err := found.Err(); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\ngot  %q\nwant %q", err, got, want)
	}
	var about string
	err = db.QueryRowContext(t.Context(), "SELECT uuid || ' ' || \"begin\" || ' ' || \"end\" || ' ' || adkim || aspf || ' ' || p || ' ' || sp FROM report JOIN report_policy_published ON report_id = id").Scan(&about)
	if want := file.ID + " 1795996800 1796083199 sr reject quarantine"; err != nil || about != want {
		t.Errorf("%v %q, want %q", err, about, want)
	}
}

// withoutNamespace returns an attachment without the namespace of RFC 9990.
func withoutNamespace(t *testing.T, packed []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	stripped := bytes.Replace(text, []byte(` xmlns="urn:ietf:params:xml:ns:dmarc-2.0"`), nil, 1)
	if err != nil || len(stripped) == len(text) {
		t.Fatalf("%v: no namespace in %s", err, text)
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(stripped); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
