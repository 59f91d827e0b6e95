package filter

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"signpost/internal/authres"
	"signpost/internal/conformance"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
	"signpost/internal/testauthres"
	"signpost/policy"
)

// readBack is the number of fields that are parsed by other programs.
const readBack = 2000

// Some filters do not parse our field, but split it at semicolons or search it for a result. They find no result that a sender wrote into
// HELO, MAIL FROM, its PTR record, its SPF record or b=.
func TestNoResultsOfSenders(t *testing.T) {
	const evil = "x;dmarc=pass;y"
	for name, e := range map[string]policy.Evidence{
		"HELO":      {Connection: policy.Connection{HELO: evil}, SPF: &spf.Result{Status: spf.None, Identity: spf.HELO}},
		"MAIL FROM": {Envelope: policy.Envelope{Sender: "a@" + evil}, SPF: &spf.Result{Status: spf.None, Identity: spf.MailFrom}},
		"PTR":       {Connection: policy.Connection{Client: netip.MustParseAddr("192.0.2.1"), Name: "unknown", PTR: evil}, SPF: &spf.Result{Status: spf.None}},
		"SPF term":  {SPF: &spf.Result{Status: spf.PermError, Domain: "a.example", Cause: spf.UnknownMechanism, Detail: evil}},
		"b=": {SPF: &spf.Result{Status: spf.None}, DKIM: []dkim.Result{
			{Status: dkim.PermError, Domain: "a.example", Signature: "dmarc=pass1"}, {Status: dkim.PermError, Domain: "a.example", Signature: "dmarc=pass2"}}},
	} {
		e.DMARC = []dmarc.Result{{Status: dmarc.Fail, Domain: "victim.example"}}
		all := results(&e, policy.Verdict{})
		field := authres.Format("mx.example.org", all)
		if got := strings.Count(field, ";"); strings.Contains(field, "dmarc=pass") || got != len(all) {
			t.Errorf("%s: %d semicolons for %d results:%s", name, got, len(all), field)
		}
	}
}

// The same is true for the DNS name of a failed lookup if an [[allow]] accepts the message. SPF macros can copy MAIL FROM into that name.
func TestNoResultsOfFailedNames(t *testing.T) {
	const name = "x;dmarc=pass.a.example"
	e := policy.Evidence{SPF: &spf.Result{Status: spf.TempError, Domain: "a.example", Cause: spf.LookupFailed, Failed: name},
		DMARC: []dmarc.Result{{Status: dmarc.Fail, Domain: "victim.example"}}}
	for _, code := range []policy.Code{policy.SPFTempError, policy.DMARCTempError, policy.RelayUnverified} {
		v := policy.Verdict{Override: policy.LocalPolicy, Reasons: []policy.Reason{{Code: code, Domain: "a.example", Detail: name}, {Code: policy.LocalAllow}}}
		for _, status := range []dmarc.Status{dmarc.Fail, dmarc.None} {
			e.DMARC[0].Status = status
			field := authres.Format("mx.example.org", results(&e, v))
			if strings.Contains(field, "dmarc=pass") || !strings.Contains(field, "dmarc?pass") {
				t.Errorf("%s: %s", code, field)
			}
		}
		if v.Reasons[0].Detail != name {
			t.Errorf("%s: the reason was changed: %+v", code, v.Reasons)
		}
	}
}

// A sender can choose HELO, MAIL FROM, its PTR record, b= and text that reasons quote. Strict parsers of other programs still find
// exactly our results with their values in our field.
func TestResultsReadBack(t *testing.T) {
	if testing.Short() {
		t.Skip("runs Python and Perl")
	}
	random := rand.New(rand.NewPCG(8601, 9989))
	var fields []string
	var meant []testauthres.Header
	for range readBack {
		e := hostileEvidence(random)
		all := results(&e, policy.Verdict{Reasons: []policy.Reason{{Code: policy.LocalDeny, Detail: hostileText(random)}}})
		fields = append(fields, authres.Format("mx.example.org", all))
		meant = append(meant, testauthres.Header{ID: "mx.example.org", Results: asMeant(all)})
	}
	for _, parser := range []struct {
		name string
		read func(context.Context, []string) ([]testauthres.Header, error)
	}{{"python3-authres", testauthres.Read}, {"Mail::AuthenticationResults", testauthres.ReadPerl}} {
		read, err := parser.read(t.Context(), fields)
		if err != nil {
			t.Fatal(err)
		}
		wrong := 0
		for i := range fields {
			if reflect.DeepEqual(read[i], meant[i]) {
				continue
			}
			if wrong++; wrong < 4 {
				got, _ := json.Marshal(read[i])
				want, _ := json.Marshal(meant[i])
				t.Errorf("%q\n got %s\nwant %s", fields[i], got, want)
			}
		}
		if wrong > 0 {
			t.Fatalf("%s does not find our results in %d of %d fields", parser.name, wrong, len(fields))
		}
	}
	conformance.Add(t, "results", "Authentication-Results: python3-authres and Mail::AuthenticationResults parse %d fields with hostile values, and find the values that Signpost wrote.", len(fields))
}

// asMeant returns the results that a reader must find. It does not use the code of package authres.
func asMeant(all []authres.Result) []testauthres.Result {
	var out []testauthres.Result
	for _, r := range all {
		m := testauthres.Result{Method: r.Method, Value: r.Value, Reason: shown(r.Reason), Props: []testauthres.Prop{}}
		for _, p := range r.Props {
			m.Props = append(m.Props, testauthres.Prop{Type: p.Type, Name: p.Name, Value: shown(p.Value)})
		}
		out = append(out, m)
	}
	return out
}

// shown returns the text of a value that a reader must find. Double quotes become single quotes. Backslashes and non-ASCII characters
// become question marks. Control characters and invalid bytes are removed. Only the first 256 bytes of a value are used.
func shown(s string) string {
	s = s[:min(len(s), 256)]
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1, r < ' ', r == 0x7f:
		case r > 0x7f, r == '\\':
			b.WriteByte('?')
		case r == '"':
			b.WriteByte('\'')
		default:
			b.WriteRune(r)
		}
		s = s[n:]
	}
	return b.String()
}

// hostileEvidence returns the evidence of a message that tries to forge results. Names that domain.Parse has checked in the real pipeline
// are valid names here too.
func hostileEvidence(random *rand.Rand) policy.Evidence {
	name := func() string { return fmt.Sprintf("a%d.stranger.example", random.IntN(1000)) }
	e := policy.Evidence{
		Connection: policy.Connection{Client: netip.MustParseAddr("2001:db8::1"), Name: []string{"", "unknown", "mx.stranger.example"}[random.IntN(3)],
			PTR: hostileText(random), HELO: hostileText(random)},
		Envelope: policy.Envelope{Sender: hostileText(random)},
		SPF: &spf.Result{Status: []spf.Status{spf.None, spf.Pass, spf.Fail, spf.PermError}[random.IntN(4)],
			Identity: []spf.Identity{spf.MailFrom, spf.HELO}[random.IntN(2)], Cause: spf.UnknownMechanism, Detail: hostileText(random)},
	}
	if random.IntN(2) == 0 {
		e.SPF.Domain = name()
	}
	for range random.IntN(4) {
		// If a signature cannot be parsed, the evidence may contain only its b=.
		s := dkim.Result{Status: dkim.PermError, Cause: dkim.MissingTag, Detail: hostileText(random), Signature: hostileText(random)}
		if random.IntN(2) == 0 {
			s.Status, s.Domain, s.Selector, s.Algorithm, s.Testing = dkim.Pass, name(), "key_1", "rsa-sha256", random.IntN(2) == 0
		}
		e.DKIM = append(e.DKIM, s)
	}
	for range random.IntN(3) {
		e.DMARC = append(e.DMARC, dmarc.Result{Status: []dmarc.Status{dmarc.Pass, dmarc.Fail, dmarc.None, dmarc.TempError}[random.IntN(4)],
			Domain: name(), Policy: []dmarc.Policy{"", dmarc.PolicyReject}[random.IntN(2)], Cause: dmarc.PolicyTagInvalid, Detail: hostileText(random)})
	}
	if random.IntN(4) == 0 {
		e.Author.Cause, e.Author.Detail = dmarc.FromSeveral, hostileText(random)
	}
	return e
}

// hostileText returns text made of parts that broke readers or writers of results.
func hostileText(random *rand.Rand) string {
	pieces := []string{`\`, `"`, `\"`, `(`, `)`, `;`, `=`, `@`, `.`, `/`, ` `, "\t", "\r", "\n", "\r\n ", "\r\n", "\n\t", "\x00", "\x7f", "\x80", "\xff", "\xc3",
		"ü", "\u2028", "\u202e", "\u200b", "\U0001f4a9", "x", "example.org", "; dmarc=pass", ` header.from=bank.example`, "mx.example.org;", `"; dmarc=pass x="`,
		"=?utf-8?q?=22?=", "none", "reason=", "1", "(x)", "\r\nAuthentication-Results: mx.example.org; dmarc=pass", strings.Repeat("l", 300), strings.Repeat("ü", 130)}
	var b strings.Builder
	for range random.IntN(8) {
		b.WriteString(pieces[random.IntN(len(pieces))])
	}
	if random.IntN(4) == 0 {
		for range random.IntN(30) {
			b.WriteByte(byte(random.Uint32()))
		}
	}
	return b.String()
}
