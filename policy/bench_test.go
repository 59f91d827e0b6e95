package policy

import (
	"testing"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
)

// BenchmarkOrdinary measures the decision about an ordinary message that passes.
func BenchmarkOrdinary(b *testing.B) {
	e, r := forged(), verifying()
	e.SPF = &spf.Result{Status: spf.Pass, Identity: spf.MailFrom, Domain: "mail.example.com"}
	e.DKIM = []dkim.Result{{Status: dkim.Pass, Domain: "mail.example.com"}}
	e.DMARC[0].Status = dmarc.Pass
	b.ReportAllocs()
	for b.Loop() {
		if a, _ := AssignRole(e, r); a.Role != RoleVerify {
			b.Fatal("not verified")
		}
		if v := Decide(e, r); v.Reply.Code != 0 {
			b.Fatal(v)
		}
	}
}
