package whatif

import (
	"net/netip"
	"testing"

	"signpost/internal/decision"
	"signpost/internal/journal"
	"signpost/policy"
)

// A damaged entry may lack any part. The decision is repeated from the remaining parts.
func TestDamagedEntry(t *testing.T) {
	for _, e := range []policy.Evidence{
		{},
		{Envelope: policy.Envelope{Login: "ann"}},
		{Connection: policy.Connection{SMTP: true, Daemon: "ORIGINATING"}},
		{Connection: policy.Connection{Client: netip.MustParseAddr("127.0.0.1")}},
	} {
		for _, role := range append(policy.Roles(), "") {
			for _, code := range append(policy.Codes(), "") {
				r := decision.Record{Code: code, Evidence: e, Assignment: policy.Assignment{Role: role}}
				Judge(AsIf(&journal.Entry{Record: r}, "reject"), policy.Rules{})
			}
		}
	}
}
