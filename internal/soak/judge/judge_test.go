package judge

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// day is a small site with one right message of each class. Each test changes one thing.
type day struct {
	*Judge
	start time.Time
}

const mx = "mx.b.example"

func newDay() day {
	d := day{New("a.example", "ours.example"), time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)}
	d.add("user", User, Want{Signer: "a.example", At: "b", Results: map[string]string{"dkim": "pass", "spf": "pass", "dmarc": "pass"}}, 250)
	d.add("forger", Forger, Want{Rejected: true, Row: d.row("reject", "fail")}, 550)
	d.add("list", List, Want{At: "b", Tagged: true, Results: map[string]string{"dkim": "pass", "spf": "pass", "dmarc": "fail"}, Row: d.row("quarantine", "fail")}, 250)
	for _, id := range []string{"user", "list"} {
		d.copy(d.messages[id])
	}
	d.Reported(Report{ID: "r1", Rows: map[Row]int64{d.row("reject", "fail"): 1, d.row("quarantine", "fail"): 1}})
	return d
}

func (day) row(disposition, dkim string) Row {
	return Row{Domain: "victim.example", Source: "192.0.2.1", Disposition: disposition, DKIM: dkim, SPF: "fail"}
}

func (d day) at(seconds int) time.Time { return d.start.Add(time.Duration(seconds) * time.Second) }

func (d day) add(id string, class Class, want Want, codes ...int) {
	m := Message{ID: id, Class: class, Host: "b", Want: want}
	for i, code := range codes {
		m.Attempts = append(m.Attempts, Attempt{d.at(i * 60), d.at(i*60 + 1), code})
	}
	d.Sent(m)
}

// copy adds the right copy of a message.
func (d day) copy(m *Message) {
	d.Arrived(Copy{ID: m.ID, Host: "b", At: m.Attempts[len(m.Attempts)-1].To.Add(time.Second), Results: m.Want.Results, Signers: []string{m.Want.Signer}, Tagged: m.Want.Tagged})
}

// receive adds a report about a.example with 7 messages.
func (d day) receive(codes ...int) {
	d.Fault(Fault{"kill", "b", Tempfail, d.at(-1), d.at(2)})
	d.add("report", Reporter, Want{At: "b", Received: Received{"a.example", "1", 7}}, codes...)
	d.copy(d.messages["report"])
}

// Each planted error is found as what it is, and nothing else is found.
func TestPlanted(t *testing.T) {
	for name, c := range map[string]struct {
		plant func(d day)
		want  Kind // empty: no problem
	}{
		"nothing": {func(day) {}, ""},
		"wrong result": {func(d day) {
			d.copies["user"][0].Results = map[string]string{"dkim": "fail", "spf": "pass", "dmarc": "pass"}
		}, WrongResult},
		"temperror without a fault": {func(d day) {
			d.copies["user"][0].Results = map[string]string{"dkim": "temperror", "spf": "pass", "dmarc": "pass"}
		}, WrongResult},
		"temperror during a fault": {func(d day) {
			d.Fault(Fault{"dns", "b", TempError, d.at(-5), d.at(5)})
			d.copies["user"][0].Results = map[string]string{"dkim": "temperror", "spf": "pass", "dmarc": "pass"}
		}, ""},
		"temperror at another host's fault": {func(d day) {
			d.Fault(Fault{"dns", "a", TempError, d.at(-5), d.at(5)})
			d.copies["user"][0].Results = map[string]string{"dkim": "temperror", "spf": "pass", "dmarc": "pass"}
		}, WrongResult},
		"pass during a fault": {func(d day) {
			d.Fault(Fault{"dns", "b", TempError, d.at(-5), d.at(5)})
			d.copies["list"][0].Results = map[string]string{"dkim": "pass", "spf": "pass", "dmarc": "pass"}
		}, WrongResult},
		"no results":          {func(d day) { d.copies["user"][0].Results = nil }, WrongResult},
		"forged results":      {func(d day) { d.copies["user"][0].Foreign = 1 }, WrongResult},
		"not in quarantine":   {func(d day) { d.copies["list"][0].Tagged = false }, WrongResult},
		"another mailbox":     {func(d day) { d.copies["user"][0].Host = "a" }, WrongResult},
		"a message of nobody": {func(d day) { d.Arrived(Copy{ID: "other"}) }, WrongResult},
		"unsigned":            {func(d day) { d.copies["user"][0].Signers = []string{"elsewhere.example"} }, Unsigned},
		"bad signature":       {func(d day) { d.Verified("user", "a.example", d.at(1), errors.New("no key")) }, BadSignature},
		"good signature":      {func(d day) { d.Verified("user", "a.example", d.at(1), nil) }, ""},
		"signed for a forger": {func(d day) { d.copies["list"][0].Signers = []string{"ours.example"} }, WrongResult},
		"bad signature after a revocation": {func(d day) {
			d.Fault(Fault{"revoke", "", Revoked, d.at(-5), d.at(5)})
			d.Verified("user", "a.example", d.at(1), errors.New("no key"))
			d.copies["user"][0].Results = map[string]string{"dkim": "fail", "spf": "pass", "dmarc": "pass"}
		}, ""},
		"bad signature long after a revocation": {func(d day) {
			d.Fault(Fault{"revoke", "", Revoked, d.at(-5), d.at(0)})
			d.Verified("user", "a.example", d.at(1), errors.New("no key"))
		}, BadSignature},
		"lost": {func(d day) { delete(d.copies, "user") }, Lost},
		"lost during a fault": {func(d day) {
			d.Fault(Fault{"kill", "", Tempfail | Delay | TempError | Unwritten, d.at(-5), time.Time{}})
			delete(d.copies, "user")
		}, Lost},
		"double": {func(d day) { d.copy(d.messages["user"]) }, Doubled},
		"double after a lost reply": {func(d day) {
			d.Fault(Fault{"kill", "b", Tempfail, d.at(-1), d.at(2)})
			d.add("user", User, d.messages["user"].Want, 0, 250)
			d.copy(d.messages["user"])
		}, ""},
		"lost reply without a fault": {func(d day) {
			d.Fault(Fault{"kill", "b", Tempfail, d.at(30), d.at(40)})
			d.add("user", User, d.messages["user"].Want, 0, 250)
		}, WrongReply},
		"rejected": {func(d day) { d.add("user", User, d.messages["user"].Want, 550, 250) }, WrongReply},
		"late":     {func(d day) { d.copies["user"][0].At = d.at(601) }, Delayed},
		"late in a fault": {func(d day) {
			d.Fault(Fault{"postfix", "", Delay, d.at(100), time.Time{}})
			d.copies["user"][0].At = d.at(700)
		}, ""},
		"forgery accepted": {func(d day) { d.add("forger", Forger, d.messages["forger"].Want, 250) }, ForgeryAccepted},
		"forgery arrived":  {func(d day) { d.Arrived(Copy{ID: "forger", Host: "b"}) }, ForgeryAccepted},
		"forgery in a fault": {func(d day) {
			d.Fault(Fault{"kill", "b", Tempfail, d.at(-5), d.at(5)})
			d.add("forger", Forger, d.messages["forger"].Want, 451)
		}, ReportWrong}, // a temporary failure is not a row, but the report has one
		"row missing":   {func(d day) { d.reports[0].Rows = map[Row]int64{d.row("reject", "fail"): 1} }, ReportWrong},
		"row too often": {func(d day) { d.reports[0].Rows[d.row("reject", "fail")] = 2 }, ReportWrong},
		"row of another result during a fault": {func(d day) {
			d.Fault(Fault{"dns", "b", TempError, d.at(0), d.at(5)})
			d.reports[0].Rows = map[Row]int64{d.row("none", "pass"): 2}
		}, ""},
		"row of another result, too often": {func(d day) {
			d.Fault(Fault{"dns", "b", TempError, d.at(0), d.at(5)})
			d.reports[0].Rows = map[Row]int64{d.row("none", "pass"): 3}
		}, ReportWrong},
		"row of nobody":         {func(d day) { d.reports[0].Rows[d.row("none", "pass")] = 1 }, ReportWrong},
		"row of a lost journal": {func(d day) { d.Fault(Fault{"kill", "b", Unwritten, d.at(0), d.at(1)}); d.reports[0].Rows = nil }, ""},
		"report twice":          {func(d day) { d.Reported(d.reports[0]) }, ""},
		"report twice, changed": {func(d day) { r := d.reports[0]; r.Sum[0]++; d.Reported(r) }, ReportChanged},
		"report not read":       {func(d day) { d.receive(250); d.Read("a.example", 0) }, ReportWrong},
		"report read twice":     {func(d day) { d.receive(250); d.Read("a.example", 14) }, ReportWrong},
		"report sent twice":     {func(d day) { d.receive(0, 250); d.Read("a.example", 7) }, ""},
		"report of a lost copy": {func(d day) {
			d.Fault(Fault{"disk", "b", Unkept, d.at(0), d.at(1)})
			d.receive(250)
			d.Read("a.example", 0)
		}, ""},
		"report that nobody sent": {func(d day) { d.Read("a.example", 1) }, ReportWrong},
		"memory grows":            {func(d day) { d.grow(func(i int, s *Sample) { s.Memory = int64(i) << 24 }) }, Growth},
		"descriptors grow":        {func(d day) { d.grow(func(i int, s *Sample) { s.Descriptors = 100 * i }) }, Growth},
		"memory grows, then not":  {func(d day) { d.grow(func(i int, s *Sample) { s.Memory = min(int64(i), 8) << 26 }) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDay()
			c.plant(d)
			found := d.Problems()
			if c.want == "" && len(found) > 0 || c.want != "" && (len(found) != 1 || found[0].Kind != c.want) {
				t.Errorf("found %+v, want one of kind %q", found, c.want)
			}
			var b strings.Builder
			if n, err := d.WriteTable(&b); err != nil || n != len(found) {
				t.Errorf("the table has %d problems, %v", n, err)
			}
			if c.want != "" && !strings.Contains(b.String(), fmt.Sprintf("\n%-36s %9d\n", c.want, 1)) {
				t.Errorf("the table does not count it:\n%s", b.String())
			}
		})
	}
}

// grow adds 40 samples of a process.
func (d day) grow(change func(i int, s *Sample)) {
	for i := range 40 {
		s := Sample{At: d.at(i), Process: "b serve", Memory: 40 << 20, Descriptors: 30}
		change(i, &s)
		d.Sampled(s)
	}
}

// The copy has the results of the host alone, and all signers.
func TestReadCopy(t *testing.T) {
	const raw = "Return-Path: <ann@a.example>\nAuthentication-Results: mx.b.example;\n\tiprev=fail (a; b) reason=\"it's; wrong\" policy.iprev=192.0.2.1;\n\tdkim=fail header.d=list.example;\n\tdkim=pass header.d=a.example;\n" +
		"\tspf=softfail smtp.mailfrom=a.example; dmarc=pass header.from=a.example\nX-Signpost-Disposition: quarantine; dmarc\n" +
		"Received: from x\n\tby y\nDKIM-Signature: v=1; a=rsa-sha256; d=A.example; s=s1;\n\tbh=d=; b=x\nDKIM-Signature: v=1;\n\td = list.example; s=d\n" +
		"Authentication-Results: other.example; dkim=none\nAuthentication-Results: MX.b.example; dmarc=pass\nX-Soak-ID: 17\n\nbody\n"
	c, err := ReadCopy(mx, []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	if c.ID != "17" || c.Foreign != 1 || !c.Tagged || strings.Join(c.Signers, " ") != "a.example list.example" ||
		c.Results["dkim"] != "pass" || c.Results["spf"] != "softfail" || c.Results["dmarc"] != "pass" || len(c.Results) != 4 || c.Results["iprev"] != "fail" {
		t.Errorf("%+v", c)
	}
	for _, broken := range []string{"no header", "A: b\n\n", "X-Soak-ID: 1\nAuthentication-Results: mx.b.example; dkim\n\n"} {
		if c, err := ReadCopy(mx, []byte(broken)); err == nil {
			t.Errorf("%q: %+v", broken, c)
		}
	}
}

// A report is read from a message: its ID, its domain and the counts of its rows.
func TestReadReport(t *testing.T) {
	const text = `<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0"><report_metadata><report_id>id1</report_id></report_metadata><policy_published><domain>d.example</domain></policy_published>
<record><row><source_ip>192.0.2.1</source_ip><count>3</count><policy_evaluated><disposition>reject</disposition><dkim>fail</dkim><spf>fail</spf></policy_evaluated></row></record>
<record><row><source_ip>192.0.2.1</source_ip><count>4</count><policy_evaluated><disposition>reject</disposition><dkim>fail</dkim><spf>fail</spf></policy_evaluated></row></record></feedback>`
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	raw := "Received: x\nSubject: Report Domain: d.example Submitter: s.example Report-ID: <id1>\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\ntext\n" +
		"--b\nContent-Type: application/gzip\nContent-Transfer-Encoding: base64\n\n" + base64.StdEncoding.EncodeToString(packed.Bytes()) + "\n--b--\n"
	r, err := ReadReport([]byte(raw))
	if err != nil || !IsReport([]byte(raw)) || r.ID != "id1" || r.Domain != "d.example" || len(r.Rows) != 1 || r.Rows[Row{"d.example", "192.0.2.1", "reject", "fail", "fail"}] != 7 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, broken := range []string{"", "A: b\n\n", strings.Replace(raw, "gzip", "zip", 1), strings.Replace(raw, "H4", "??", 1)} {
		if r, err := ReadReport([]byte(broken)); err == nil {
			t.Errorf("%+v", r)
		}
	}
}
