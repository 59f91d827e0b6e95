package whatif

import (
	"bufio"
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"signpost/internal/journal"
	"signpost/internal/testjournal"
	"signpost/policy"
)

// An old version of Signpost wrote a journal of version 1 and replayed it under four sets of rules. testdata/version1.want has the
// decisions of that version. A replay today must produce the same decisions.
func TestVersion1(t *testing.T) {
	r, err := journal.OpenReader(testjournal.Version1(t))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := map[string]string{}
	for name, change := range map[string]func(*policy.Rules){
		"default":      func(*policy.Rules) {},
		"always":       func(r *policy.Rules) { r.Reject = policy.RejectAlways },
		"never-hold":   func(r *policy.Rules) { r.Reject, r.Quarantine = policy.RejectNever, policy.QuarantineHold },
		"tempfail-spf": func(r *policy.Rules) { r.TempError, r.SPFFail = policy.TempErrorDefer, policy.SPFReject },
	} {
		rules := policy.Rules{HostileFrom: policy.HostileRefuse, Reject: policy.RejectOnEvidence, Quarantine: policy.QuarantineTag, TempError: policy.TempErrorAccept,
			SPFFail: policy.SPFLeftToDMARC, OnMissingKey: policy.Tempfail, Subdomains: true,
			TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Hosted: map[string]bool{"example.org": true}}
		change(&rules)
		err := r.Each(t.Context(), journal.Filter{}, func(e *journal.Entry) bool {
			j := Judge(e, rules)
			words := []string{string(j.Role), string(j.Action), j.Reply}
			if j.Unknown != "" {
				words = append(words, "unknown")
			}
			if j.Granted {
				words = append(words, "granted")
			}
			got[name+" "+e.QueueID] = strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.Open(filepath.Join("testdata", "version1.want"))
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	n := 0
	for lines := bufio.NewScanner(want); lines.Scan(); n++ {
		words := strings.SplitN(lines.Text(), " ", 3)
		key := words[0] + " " + words[1]
		if decided := strings.TrimSpace(cmp.Or(got[key], "nothing")); len(words) < 3 || decided != strings.TrimSpace(words[2]) {
			t.Errorf("%s: %s, want %s", key, decided, fmt.Sprint(words[2:]))
		}
	}
	if n != len(got) {
		t.Errorf("%d decisions, want %d", len(got), n)
	}
}
