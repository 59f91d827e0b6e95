package main

import (
	"encoding/json"
	"strings"
	"testing"

	"signpost/internal/digest"
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
