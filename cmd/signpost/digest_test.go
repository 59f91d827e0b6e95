package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"signpost/internal/digest"
	"signpost/internal/report/received"
)

// The numbers of a digest are those of signpost log. Without --json, it is a text that names the host and the period.
func TestDigest(t *testing.T) {
	a := newArchive(t)
	a.keep(caseReports(t, "forged", "legitimate", "attacks/client-a3", "resent", "fault-policy-tempfail", "arc-trusted", "ipv6-client")...)
	code, out, stderr := a.run("digest", "--json")
	var d digest.Digest
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != 0 || stderr != "" || d.Journal == nil {
		t.Fatalf("%d %v %s\n%s", code, err, stderr, out)
	}
	for flags, got := range map[string]int64{"": d.Journal.Now.Messages, "--role sign --action sign": d.Journal.Now.Signed, "--role verify": d.Journal.Now.Inbound, "--role verify --dmarc pass": d.Journal.Now.Passed,
		"--role verify --dmarc fail": d.Journal.Now.Failed, "--action reject,discard": d.Journal.Now.Rejected, "--action tag,hold": d.Journal.Now.Held, "--action tempfail": d.Journal.Now.Deferred} {
		_, list, _ := a.run(append([]string{"log", "--since", "7d", "-n", "1000"}, strings.Fields(flags)...)...)
		if want := len(queueIDs(list)); int64(want) != got {
			t.Errorf("%q: %d, want %d", flags, got, want)
		}
	}
	if code, out, stderr = a.run("digest", "--since", "2d"); code != 0 || stderr != "" || !strings.HasPrefix(out, "Signpost on ") || !strings.Contains(out, "  rejected ") || !strings.Contains(out, "\nalarms ") {
		t.Errorf("%d %s\n%s", code, stderr, out)
	}
	if code, _, _ := a.run("digest", "--since", "tomorrow"); code != 2 {
		t.Errorf("exit code %d", code)
	}
}

// The digest has what other receivers state about mail of the site's networks, as signpost reports received has it, and the addresses of others
// that no report about the period before has. Without addresses for reports, it states that reports are off.
func TestDigestOfReports(t *testing.T) {
	a := receivedArchive(t, "")
	text, err := os.ReadFile(a.file)
	if err != nil {
		t.Fatal(err)
	}
	if _, out, _ := a.run("digest"); !strings.Contains(out, "\nreports     off (docs/reports.md)\n") {
		t.Error(out)
	}
	put(t, a.file, strings.Replace(string(text), "[reports.receive]\n", "[reports.receive]\naddresses = [\"dmarc@example.org\"]\n", 1))
	code, out, stderr := a.run("digest", "--since", "90d", "--json")
	var d digest.Digest
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != 0 || stderr != "" || d.Seen == nil || len(d.Errors) > 0 {
		t.Fatalf("%d %v %s\n%s", code, err, stderr, out)
	}
	var want digest.Aligned
	others := 0
	for _, name := range []string{"example.org", "example.com"} {
		var about received.About
		_, out, _ := a.run("reports", "received", name, "--since", "90d", "--json", "--no-dns")
		if err := json.Unmarshal([]byte(out), &about); err != nil {
			t.Fatal(err)
		}
		for _, s := range about.Most {
			switch s.Owner {
			case received.Own:
				want.Messages, want.Passed, want.DKIM, want.SPF = want.Messages+s.Messages, want.Passed+s.Passed, want.DKIM+s.DKIM, want.SPF+s.SPF
			case received.Other:
				others++
			}
		}
	}
	if d.Seen.Own != want || want.Messages == 0 || d.Seen.OwnBefore != (digest.Aligned{}) || len(d.Seen.Sources) != others || others == 0 {
		t.Errorf("%+v, want %+v and %d sources", d.Seen, want, others)
	}
	_, out, _ = a.run("digest", "--since", "90d")
	for _, part := range []string{"own mail: ", " in reports: ", "sent        reports: off (docs/reports.md)\n", "unknown source: 1 (signpost reports received): example.org"} {
		if !strings.Contains(out, part) {
			t.Errorf("no %q in\n%s", part, out)
		}
	}
}
