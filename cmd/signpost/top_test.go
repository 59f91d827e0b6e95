package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/policy"
)

// If the output is not a terminal, top prints one frame without escape sequences: counts, the sources of failing mail, and DNS. It
// reports a daemon that does not answer.
func TestTopPrints(t *testing.T) {
	a := newArchive(t)
	a.keep(&decision.Record{Assignment: policy.Assignment{Role: policy.RoleVerify}, Verdict: policy.Verdict{Action: policy.Reject, Reply: policy.Reply{Code: 550, Enhanced: "5.7.1"}},
		Evidence: policy.Evidence{QueueID: "4f", Author: dmarc.Author{Domains: []string{"forged.example"}}, DMARC: []dmarc.Result{{Status: dmarc.Fail, Domain: "forged.example"}}},
		Lookups:  []dns.Lookup{{Name: "forged.example.", Type: "TXT", Status: dns.Timeout, Took: dns.Millis(2 * time.Second)}}})
	code, out, stderr := a.run("top")
	words := strings.Join(strings.Fields(out), " ")
	for _, want := range []string{"reject 1 0.1", "DMARC fail 1", "1 sent, 1 failed, 1 took a second or more", "1 forged.example", "lost not known: metrics.listen is empty"} {
		if !strings.Contains(words, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
	if code != 0 || stderr != "" || strings.Contains(out, "\x1b") {
		t.Errorf("%d %s%q", code, stderr, out)
	}
	put(t, a.file, fmt.Sprintf("state_dir = %q\n[metrics]\nlisten = \"127.0.0.1:1\"\n", a.dir))
	if _, out, _ := a.run("top"); !strings.Contains(out, "the daemon does not answer at 127.0.0.1:1 (metrics.listen)") {
		t.Errorf("no message about the daemon that does not run:\n%s", out)
	}
}
