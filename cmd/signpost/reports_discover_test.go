package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signpost/internal/config"
	"signpost/internal/doctor/reports"
	"signpost/internal/testdns"
)

// The lines can be copied into signpost.toml: the list has the configured and the new addresses.
func TestReportsDiscover(t *testing.T) {
	var out bytes.Buffer
	writeCandidates(&out, []string{"dmarc@a.example"}, []reports.Candidate{
		{Address: "dmarc@a.example", Records: []string{"_dmarc.a.example"}, Configured: true, Receives: true},
		{Address: "tls@a.example", Records: []string{"_smtp._tls.a.example"}, Receives: true},
		{Address: "x@b.example", Records: []string{"_dmarc.a.example"}, Missing: []string{"a.example._report._dmarc.b.example"}},
	})
	conf, err := config.Parse("signpost.toml", out.Bytes())
	if err != nil || strings.Join(conf.Reports.Receive.Addresses, " ") != "dmarc@a.example tls@a.example" {
		t.Errorf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"# tls@a.example: rua of _smtp._tls.a.example\n", "# not proposed: x@b.example, ", `#   a.example._report._dmarc.b.example. IN TXT "v=DMARC1"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	out.Reset()
	writeCandidates(&out, []string{"dmarc@a.example"}, nil)
	if strings.Contains(out.String(), "[reports.receive]") {
		t.Errorf("nothing is new, but the list is printed:\n%s", out.String())
	}
}

// Without a domain and without DNS, the command states so.
func TestReportsDiscoverRun(t *testing.T) {
	dns, err := testdns.Start(". IN NS a.root.test.\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dns.Stop)
	a := newArchive(t)
	if err := os.MkdirAll(filepath.Join(a.dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, a.file, fmt.Sprintf("state_dir = %q\n[dns]\nservers = [%q]\n", a.dir, dns.Addr()))
	code, stdout, stderr := a.run("reports", "discover", "--json")
	var all []reports.Candidate
	if err := json.Unmarshal([]byte(stdout), &all); code != 0 || err != nil || len(all) > 0 {
		t.Errorf("%d %s %s %v", code, stdout, stderr, err)
	}
	put(t, a.file, fmt.Sprintf("state_dir = %q\n[dns]\nservers = [\"127.0.0.1:1\"]\n", a.dir))
	if code, _, stderr := a.run("reports", "discover"); code != 1 || !strings.Contains(stderr, "no DNS server answers\nhint: dig . NS") {
		t.Errorf("%d %s", code, stderr)
	}
}
