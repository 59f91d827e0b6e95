package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/decision"
	"signpost/internal/dmarc"
	"signpost/internal/doctor"
	"signpost/internal/glance"
	"signpost/internal/report/received"
	"signpost/policy"
)

// glanced runs signpost domain.
func glanced(t *testing.T, zone string, args ...string) (d glance.Domain, text string, code int) {
	t.Helper()
	file := signing(t, zone)
	var out, errs bytes.Buffer
	run(t.Context(), append([]string{"domain", "--json", "-c", file}, args...), &out, &errs)
	if err := json.Unmarshal(out.Bytes(), &d); err != nil {
		t.Fatal(err, out.String(), errs.String())
	}
	out.Reset()
	code = run(t.Context(), append([]string{"domain", "-c", file}, args...), &out, &errs)
	return d, out.String(), code
}

// A domain of this host is shown with its keys, its records, the number of SPF lookups and records to copy. When these are published, they are
// no longer proposed.
func TestDomainAtAGlance(t *testing.T) {
	d, text, code := glanced(t, doctoredZone, "EXAMPLE.org", "--address", "192.0.2.1")
	if !d.Hosted || len(d.Keys) != 1 || d.Keys[0].Selector != "s1" || !d.Keys[0].Signs || d.DNS.SPFLookups != 1 || d.DNS.Policy != "reject" ||
		strings.Join(d.DNS.Exchanges, " ") != "mail.example.org" || d.Mail != nil || d.Reports != nil {
		t.Errorf("%+v", d)
	}
	if code != 1 || len(d.Optional) != 3 { // the record of the key is missing
		t.Fatalf("exit code %d, %+v", code, d.Optional)
	}
	zone := doctoredZone
	for _, want := range []string{"example.org: hosted here; DNS: ", "\nKeys\n  s1 ", "red    dkim ", "  SPF lookups  1 of 10", "_smtp._tls.example.org. IN TXT \"v=TLSRPTv1; rua=mailto:postmaster@example.org\"",
		"; mx: mail.example.org\n", "default._bimi.example.org. IN TXT ", "reports.md"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	for _, f := range d.Findings {
		if f.Check == "dkim" && f.Level == doctor.Red {
			zone += f.Fix + "\n"
		}
	}
	for _, r := range d.Optional {
		line, _, _ := strings.Cut(r.Line, "\n")
		zone += line + "\n"
	}
	d, text, _ = glanced(t, zone, "example.org", "--address", "192.0.2.1")
	for _, f := range d.Findings {
		if f.Level == doctor.Red && f.Check != "mta-sts" && f.Check != "helo" { // no web server has the policy; this machine has any name
			t.Errorf("%+v", f)
		}
	}
	if len(d.Optional) > 0 {
		t.Errorf("still proposed: %+v\n%s", d.Optional, text)
	}
}

// If all records are right and no key needs action, the exit code is 0.
func TestDomainInOrder(t *testing.T) {
	if testing.Short() {
		t.Skip("runs postconf")
	}
	_, postfix := doctorHost(t, "")
	put(t, postfix+"/main.cf", "myhostname = mail.example.org\n")
	record := "s1._domainkey.example.org. IN TXT \"v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public().(ed25519.PublicKey)) + "\"\n"
	file := signing(t, doctoredZone+record)
	metadata := filepath.Join(filepath.Dir(file), "keys", "example.org", "s1.json")
	text, err := os.ReadFile(metadata)
	if err != nil {
		t.Fatal(err)
	}
	put(t, metadata, strings.Replace(string(text), "{", `{"seen": "2026-12-01T00:00:00Z",`, 1)) // dkimkey rotate has found the record
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"domain", "-c", file, "example.org", "--address", "192.0.2.1", "--postfix", postfix}, &out, &errs)
	if code != 0 || !strings.HasPrefix(out.String(), "example.org: hosted here; DNS: 0 red") || strings.Contains(out.String(), "action needed") {
		t.Errorf("exit code %d\n%s%s", code, out.String(), errs.String())
	}
}

// The numbers of the journal and of received reports are shown: mail of this Author Domain, and what receivers saw.
func TestDomainWithMailAndReports(t *testing.T) {
	a := receivedArchive(t, "")
	var all []*decision.Record
	for _, c := range []struct {
		role   policy.Role
		action policy.Action
		dmarc  dmarc.Status
		n      int
	}{{policy.RoleSign, policy.Sign, "", 5}, {policy.RoleSign, policy.Accept, "", 2}, {policy.RoleVerify, policy.Accept, dmarc.Pass, 3}, {policy.RoleVerify, policy.Reject, dmarc.Fail, 4}, {policy.RoleVerify, policy.Accept, dmarc.None, 1}} {
		for range c.n {
			r := &decision.Record{}
			r.QueueID, r.Role, r.Action, r.Author.Domains = fmt.Sprint("q", len(all)), c.role, c.action, []string{"example.org"}
			if c.dmarc != "" {
				r.DMARC = []dmarc.Result{{Status: c.dmarc, Domain: "example.org"}}
			}
			all = append(all, r)
		}
	}
	a.keep(all...)
	conf, err := config.Load(a.file)
	if err != nil {
		t.Fatal(err)
	}
	d, err := localGlance(t.Context(), conf, "example.org", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if m := d.Mail; m == nil || m.Signed != 5 || m.Unsigned != 2 || m.Passed != 3 || m.Failed != 4 || m.Other != 1 {
		t.Errorf("%+v", m)
	}
	_, out, _ := a.run("reports", "received", "example.org", "--json", "--no-dns")
	var want received.About
	if err := json.Unmarshal([]byte(out), &want); err != nil {
		t.Fatal(err)
	}
	r := d.Reports
	if r == nil || r.Messages != want.Messages || r.Passed != want.Passed || r.Reporters != len(want.Reporters) || len(r.Days) != len(want.Days) || len(r.Senders) != 5 || r.Senders[0].Address != want.Most[0].Address || r.Failing[0].Address != want.MostFailed[0].Address {
		t.Errorf("%+v\nwant %+v", r, want)
	}
	var text strings.Builder
	if err := d.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"signed: 5, not signed: 2", "DMARC passed: 3, failed: 4, no policy: 1", "  who sends    198.51.100.66   other messages: 15000, failed: 15000", "  192.0.2.1       own   messages: 6070, failed: 0, DKIM aligned: 6070, SPF aligned: 6000", "  who fails    198.51.100.66 ", "next step", "signpost reports received example.org"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in\n%s", want, text.String())
		}
	}
}

// A domain of another site has no keys and no reports, and needs no keys here.
func TestAnotherDomainAtAGlance(t *testing.T) {
	d, text, _ := glanced(t, doctoredZone, "example.net")
	if d.Hosted || len(d.Keys) > 0 || !strings.HasPrefix(text, "example.net: not hosted here; DNS: ") || strings.Contains(text, "\nKeys\n") || strings.Contains(text, "Reports") {
		t.Errorf("%+v\n%s", d, text)
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"domain", "-c", signing(t, doctoredZone), "no domain"}, &out, &errs); code != 2 {
		t.Errorf("exit code %d\n%s", code, errs.String())
	}
}
