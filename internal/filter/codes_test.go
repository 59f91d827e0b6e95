package filter

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"signpost/internal/authres"
	"signpost/internal/decision"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
	"signpost/policy"
)

// The log line of a message has its code. It also has the text of the code, unless action and role already contain this information.
func TestEveryCodeIsLogged(t *testing.T) {
	var out bytes.Buffer
	f := &Filter{Log: slog.New(slog.NewTextHandler(&out, nil))}
	for _, c := range policy.Codes() {
		out.Reset()
		reason := policy.Reason{Code: c, Domain: "d.example", Detail: "some", Cause: "some_cause"}
		f.log(t.Context(), &decision.Record{Code: c, Assignment: policy.Assignment{Role: policy.RoleVerify}, Verdict: policy.Verdict{Action: policy.Reject, Reasons: []policy.Reason{reason}}})
		line := out.String()
		if !strings.Contains(line, " action=reject code="+string(c)+" role=verify ") {
			t.Errorf("%s: %s", c, line)
		}
		if strings.Contains(line, " reason=") == c.Plain() {
			t.Errorf("%s: %s", c, line)
		}
	}
}

// If DMARC fails, Authentication-Results has the text of each code as the reason of the DMARC result. Other programs can parse the field.
func TestEveryCodeIsInResults(t *testing.T) {
	e := policy.Evidence{Connection: policy.Connection{Client: netip.MustParseAddr("203.0.113.9"), SMTP: true}, SPF: &spf.Result{Status: spf.None, Identity: spf.MailFrom},
		DMARC: []dmarc.Result{{Status: dmarc.Fail, Domain: "example.com", Policy: dmarc.PolicyReject, Cause: dmarc.NoAlignedIdentifierPassed}}}
	for _, c := range policy.Codes() {
		reason := policy.Reason{Code: c, Domain: "d.example", Detail: "some", Cause: "some_cause"}
		_, read, ok := authres.Read(authres.Format("mx.example.org", results(&e, policy.Verdict{Reasons: []policy.Reason{reason}})))
		if !ok {
			t.Errorf("%s: the field cannot be read", c)
			continue
		}
		last := read[len(read)-1]
		if want := reason.String(); last.Method != "dmarc" || last.Value != "fail" || !c.Plain() && !strings.HasPrefix(last.Reason, want[:min(6, len(want))]) {
			t.Errorf("%s: %+v", c, last)
		}
	}
}
