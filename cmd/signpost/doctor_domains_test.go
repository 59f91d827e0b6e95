package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/doctor"
	"signpost/internal/testdns"
	"signpost/keys"
)

// doctored runs doctor for a host that signs for example.org. A zone answers the DNS lookups.
func doctored(t *testing.T, zone string, args ...string) (found []doctor.Finding, code int, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"doctor", "--json", "-c", signing(t, zone)}, args...), &out, &errs)
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &found); err != nil {
			t.Fatal(err, out.String())
		}
	}
	return found, code, errs.String()
}

// signing returns the configuration file of a host that signs for example.org. A zone answers its DNS lookups.
func signing(t *testing.T, zone string) (file string) {
	t.Helper()
	dir := t.TempDir()
	server, err := testdns.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	store := keys.Store{State: dir, Dir: filepath.Join(dir, "keys"), Now: time.Now}
	if err := store.Make(); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(source, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Import(keys.Foreign{Domain: "example.org", Selector: "s1", Source: source}, "manual"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Activate("example.org", "s1"); err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf("state_dir = %q\n[sign]\nkeys_dir = %q\n[dns]\nservers = [%q]\ntimeout = \"5s\"\n", dir, store.Dir, server.Addr())
	file = filepath.Join(dir, "c.toml")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

const doctoredZone = `example.org. IN MX 10 mail.example.org.
mail.example.org. IN A 192.0.2.1
mail.example.org. IN TXT "v=spf1 a -all"
1.2.0.192.in-addr.arpa. IN PTR mail.example.org.
example.org. IN TXT "v=spf1 mx -all"
_dmarc.example.org. IN TXT "v=DMARC1; p=reject; rua=mailto:reports@example.org"
example.net. IN TXT "v=spf1 -all"
`

func says(t *testing.T, found []doctor.Finding, check string, level doctor.Level, what string) {
	t.Helper()
	if !slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Check == check && f.Level == level && f.What == what }) {
		t.Errorf("%s %s: %s is not among %+v", level, check, what, found)
	}
}

// For a domain of this host, doctor compares the records with the addresses that the host sends from.
func TestDoctorOfOwnDomain(t *testing.T) {
	found, code, _ := doctored(t, doctoredZone, "example.org", "--address", "192.0.2.1", "--address", "192.0.2.9")
	says(t, found, "ptr", doctor.Red, "192.0.2.9 has no PTR record")
	says(t, found, "spf", doctor.Red, "the SPF record of example.org does not allow this host")
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
}

// For a domain of another site, doctor checks all records in DNS, and the DKIM keys of --selector.
func TestDoctorOfAnotherDomain(t *testing.T) {
	found, _, _ := doctored(t, doctoredZone, "example.net", "--selector", "a,b", "--selector", "c")
	for _, s := range []string{"a", "b", "c"} {
		says(t, found, "dkim", doctor.Red, "example.net has no DKIM key "+s)
	}
	found, code, _ := doctored(t, doctoredZone+"example.net. IN MX 0 .\n"+`_dmarc.example.net. IN TXT "v=DMARC1; p=reject; rua=mailto:a@example.net"`+"\n", "example.net")
	for check, what := range map[string]string{
		"mx": "example.net has a null MX: it accepts no mail", "spf": "the SPF record of example.net is correct and needs 0 of 10 DNS lookups", "dmarc": "the DMARC record of example.net is valid: p=reject",
		"dkim": "DNS does not list the DKIM keys of example.net; check one with --selector NAME (s= in a DKIM-Signature)",
	} {
		says(t, found, check, doctor.Green, what)
	}
	if code != 0 {
		t.Errorf("exit code %d: %+v", code, found)
	}
}

// Invalid flags are an error, and no check runs.
func TestDoctorFlagsOfDomains(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--address", "mail.example.org"}, `--address: "mail.example.org" is not an IP address`},
		{[]string{"--address", "192.0.2.1", "example.net"}, `--address: "example.net" is not a domain that this host signs for`},
		{[]string{"--selector", "s1"}, "--selector requires DOMAIN"},
	} {
		found, code, stderr := doctored(t, doctoredZone, c.args...)
		if code != 2 || len(found) > 0 || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: code %d, %s", c.args, code, stderr)
		}
	}
}

// doctor must find these five faults in DNS. Each finding is red, and its fix contains the correct record.
func TestDoctorNamesFaultsOfDNS(t *testing.T) {
	const dkimAt = `s1._domainkey.example.org. IN TXT "v=DKIM1; k=ed25519; h=sha256; p=O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik="`
	const spfAt, dmarcAt = `example.org. IN TXT "v=spf1 mx -all"`, `_dmarc.example.org. IN TXT "v=DMARC1; p=reject; rua=mailto:reports@example.org"`
	zone := doctoredZone + dkimAt + "\nexample.org. IN SOA ns1.example.org. hostmaster.example.org. 1 3600 600 86400 60\nexample.org. IN NS ns1.example.org.\nns1.example.org. IN A 127.0.0.1\n"
	eleven := `example.org. IN TXT "v=spf1`
	for i := range 11 {
		eleven += fmt.Sprintf(" include:p%d.example", i)
		zone += fmt.Sprintf("p%d.example. IN TXT \"v=spf1 ip4:192.0.2.%d -all\"\n", i, i)
	}
	eleven += ` -all"`
	for _, c := range []struct{ name, old, new, check, what, fix string }{
		{"nothing", "", "", "", "", ""},
		{"record missing", dkimAt, "", "dkim", "the record of the DKIM key s1 of example.org is missing", dkimAt},
		{"record wrong", dkimAt, strings.Replace(dkimAt, "p=O2on", "p=P2on", 1), "dkim", "the record of the DKIM key s1 of example.org contains another key", dkimAt},
		{"two SPF records", spfAt, spfAt + "\n" + `example.org. IN TXT "v=spf1 include:p1.example ~all"`, "spf", "2 SPF records at example.org", `example.org. IN TXT "v=spf1 mx include:p1.example ~all"`},
		{"SPF with 11 lookups", spfAt, eleven, "spf-tree", "the SPF record of example.org needs 11 DNS lookups; the limit is 10", strings.Replace(eleven, "include:p0.example", "ip4:192.0.2.0", 1)},
		{"DMARC with a typo", "p=reject", "p=rejct", "dmarc", `the DMARC record of example.org has a typo: p="rejct" is not valid; did you mean reject?`, dmarcAt},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			faults := func(zone string) (all []doctor.Finding) {
				found, _, _ := doctored(t, zone, "example.org", "--address", "192.0.2.1")
				for _, f := range found {
					if f.Level == doctor.Red && f.Check != "helo" { // the HELO name depends on this machine
						all = append(all, f)
					}
				}
				return all
			}
			found := faults(strings.Replace(zone, c.old, c.new, 1))
			if c.name == "nothing" {
				if len(found) > 0 {
					t.Errorf("%+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Check != c.check || found[0].What != c.what || found[0].Fix != c.fix {
				t.Fatalf("%+v", found)
			}
			mended := strings.Replace(zone, c.old, c.fix, 1)
			if !strings.Contains(c.old, " IN ") {
				mended = zone
			}
			if found := faults(mended); len(found) > 0 {
				t.Errorf("the line does not correct it: %+v", found)
			}
		})
	}
}

// doctor reports the name of this host once, in one line, even if the host sends for many domains.
func TestDoctorOfSeveralDomains(t *testing.T) {
	file, postfix := doctorHost(t, "[sign]\nkeys_dir = \"KEYS\"\n")
	dir := filepath.Dir(file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(text, []byte("KEYS"), []byte(dir+"/keys"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	main := filepath.Join(postfix, "main.cf")
	if err := os.WriteFile(main, []byte("myhostname = debian\nmilter_default_action = accept\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(main, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	store := keys.Store{State: dir + "/state", Dir: dir + "/keys", Now: time.Now}
	if err := store.Make(); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, domain := range []string{"a.test", "b.test", "c.test"} {
		if _, err := store.Import(keys.Foreign{Domain: domain, Selector: "s1", Source: key}, "manual"); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Activate(domain, "s1"); err != nil {
			t.Fatal(err)
		}
	}
	_, out, errs := doctorSays(t, "-c", file, "--postfix", postfix, "--address", "192.0.2.1")
	for _, want := range []string{
		"\nred    helo: the HELO name \"debian\" is not a fully qualified domain name\n",
		"\nred    spf: a.test has no SPF record; the same for 2 more domains: b.test, c.test\n",
	} {
		if strings.Count(out, want) != 1 {
			t.Errorf("%q is not exactly once in\n%s%s", want, out, errs)
		}
	}
	if strings.Count(out, " helo: ") != 1 || strings.Count(out, "myhostname = mail.") != 1 {
		t.Errorf("more than one finding about the HELO name:\n%s", out)
	}
}
