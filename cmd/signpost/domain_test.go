package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"signpost/internal/doctor"
	"signpost/internal/glance"
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
	if code != 1 || len(d.Optional) != 2 { // the record of the key is missing
		t.Fatalf("exit code %d, %+v", code, d.Optional)
	}
	zone := doctoredZone
	for _, want := range []string{"example.org: hosted here; DNS: ", "\nKeys\n  s1 ", "red    dkim ", "  SPF lookups  1 of 10", "_smtp._tls.example.org. IN TXT \"v=TLSRPTv1; rua=mailto:postmaster@example.org\"",
		"; mx: mail.example.org\n", "reports.md"} {
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
