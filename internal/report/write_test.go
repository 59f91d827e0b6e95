package report

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/xml"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"signpost/internal/dkim"
	"signpost/internal/spf"
	"signpost/policy"
)

func sender() Sender {
	return Sender{Domain: "reports.mx.example.net", OrgName: "Example & Co.", Email: "postmaster@example.net", Extra: "https://example.net/dmarc", Generator: "Signpost 0.3.0"}
}

// sample has each element once in each of its forms.
func sample() *Report {
	return &Report{
		Day:    monday(),
		Policy: Policy{Domain: "example.org", P: "reject", SP: "quarantine", NP: "none", FO: "1:d", StrictDKIM: true, Testing: true},
		Rows: []Row{
			{Source: netip.MustParseAddr("192.0.2.1"), Count: 12, Disposition: DispositionPass, DKIM: true, SPF: true, HeaderFrom: "example.org", EnvelopeFrom: "example.org",
				Signatures: []Signature{{"example.org", "s1", dkim.Pass}, {"list.example", "x", dkim.Fail}}, SPFDomain: "example.org", SPFResult: spf.Pass},
			{Source: netip.MustParseAddr("2001:db8::1"), Count: 3, Disposition: DispositionNone, HeaderFrom: "a.example.org", EnvelopeFrom: "",
				Reasons:   []Reason{{policy.PolicyTestMode, "policy_test_mode"}, {policy.MailingList, ""}},
				SPFDomain: "mail.example.com", SPFResult: spf.SoftFail},
			{Source: netip.MustParseAddr("203.0.113.1"), Count: 1, Disposition: DispositionReject, HeaderFrom: "example.org", Folded: true},
		},
		TempErrors: 2,
	}
}

func unpack(t testing.TB, f File) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(f.Gzip))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The XML of a report changes only on purpose. UPDATE=1 writes it.
func TestXML(t *testing.T) {
	f, err := sample().File(sender())
	if err != nil {
		t.Fatal(err)
	}
	got := unpack(t, f)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile("testdata/report.xml", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/report.xml")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\ngot\n%swant\n%s", err, got, want)
	}
	validate(t, got)
}

// validate checks a report with the schema, if xmllint is installed.
func validate(t *testing.T, text []byte) {
	t.Helper()
	xmllint, err := exec.LookPath("xmllint")
	if err != nil {
		t.Log("xmllint is not installed")
		return
	}
	c := exec.CommandContext(t.Context(), xmllint, "--noout", "--nonet", "--schema", "testdata/report.xsd", "-")
	c.Stdin = bytes.NewReader(text)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%.3000s", err, out, text)
	}
}

// The ID is the same in the file name, the Subject and the XML. It depends on the day, the policy and the sender's domain, and on nothing
// else: a report that is computed again has the same ID.
func TestID(t *testing.T) {
	r := sample()
	f, err := r.File(sender())
	if err != nil {
		t.Fatal(err)
	}
	if want := "reports.mx.example.net!example.org!1795996800!1796083199!" + f.ID + ".xml.gz"; f.Name != want {
		t.Errorf("%s, want %s", f.Name, want)
	}
	if got, want := Subject("example.org", "reports.mx.example.net", f.ID), "Report Domain: example.org Submitter: reports.mx.example.net Report-ID: <"+f.ID+">"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if !bytes.Contains(unpack(t, f), []byte("<report_id>"+f.ID+"</report_id>")) || len(f.ID) != 26 || strings.Trim(f.ID, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		t.Error(f.ID)
	}
	again, other := *r, *r
	again.Rows, again.Messages = r.Rows[:1], 7
	other.Policy.NP = "reject"
	next := *r
	next.Day = r.Day.AddDate(0, 0, 1)
	if id := again.ID("reports.mx.example.net"); id != f.ID {
		t.Error("the rows change the ID")
	}
	for _, id := range []string{other.ID("reports.mx.example.net"), next.ID("reports.mx.example.net"), r.ID("reports.example.com")} {
		if id == f.ID {
			t.Error("two reports have one ID")
		}
	}
	if twice, err := r.File(sender()); err != nil || !bytes.Equal(twice.Gzip, f.Gzip) {
		t.Error("two files of one report differ", err)
	}
}

// hostile are texts that a sender may choose.
func hostile() []string {
	return []string{"<", "&", "]]>", "<!DOCTYPE x>", "a\x00b", "a\x1b[2Jb", "\xff\xfe", "a\ufffeb", "\ufffd", "\U0010ffff", "bücher.example", "a\r\nb", strings.Repeat("a", 255), "\xed\xa0\x80", "'\"", "&#0;", "</feedback>"}
}

// Names that a sender chooses never make a report unreadable. Only what XML 1.0 does not allow is removed.
func TestHostileNames(t *testing.T) {
	for _, text := range hostile() {
		checkRoundTrip(t, text)
		r := sample()
		r.Rows[0].EnvelopeFrom = text
		f, err := r.File(sender())
		if err != nil {
			t.Fatal(err)
		}
		validate(t, unpack(t, f))
	}
	if got := clean("a\x00\x1b\xff\ufffe<&ü\ufffd\n"); got != "a<&ü\ufffd\n" {
		t.Errorf("%q", got)
	}
}

// checkRoundTrip writes a report with a text in each place, and reads it again.
func checkRoundTrip(t *testing.T, text string) {
	t.Helper()
	r := sample()
	r.Policy.Domain, r.Policy.FO = text, text
	s := Sender{Domain: text, OrgName: text, Email: text, Extra: text, Generator: text}
	for i := range r.Rows {
		row := &r.Rows[i]
		row.HeaderFrom, row.EnvelopeFrom, row.SPFDomain, row.SPFResult = text, text, cmp.Or(text, "x"), spf.Status(text)
		for j := range row.Signatures {
			row.Signatures[j] = Signature{text, text, dkim.Status(text)}
		}
		for j := range row.Reasons {
			row.Reasons[j] = Reason{policy.Override(text), text}
		}
	}
	f, err := r.File(s)
	if err != nil {
		t.Fatal(err)
	}
	data := unpack(t, f)
	if !utf8.Valid(data) {
		t.Errorf("%q: the report is not UTF-8", text)
	}
	var got feedback
	d := xml.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&got); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	want := r.feedback(s, f.ID)
	want.XMLName = got.XMLName
	if got.XMLName.Space != "urn:ietf:params:xml:ns:dmarc-2.0" || !reflect.DeepEqual(got, want) {
		t.Errorf("%q:\ngot  %+v\nwant %+v", text, got, want)
	}
}

func FuzzWrite(f *testing.F) {
	for _, text := range hostile() {
		f.Add(text)
	}
	f.Fuzz(checkRoundTrip)
}
