package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"signpost/internal/config"
	"signpost/internal/conformance"
	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dns"
	"signpost/internal/filter"
	"signpost/internal/setup"
	"signpost/internal/testdkim"
	"signpost/internal/testdns"
	"signpost/keys"
	"signpost/milter"
	"signpost/policy"
)

// caseTimeout is dns.timeout of the cases. TestCases tries shortTimeout first, because some servers never answer.
const (
	caseTimeout  = 3 * time.Second
	shortTimeout = 100 * time.Millisecond
)

// Each testdata/*.txtar and testdata/*/*.txtar at the top of the project has a message, its SMTP session, the DNS and the expected
// result. testdata/README.md describes the format. A new case needs no Go code. `go test ./cmd/signpost -run TestCases -update` writes
// the actual results into the files. Read them before you commit.
func TestCases(t *testing.T) {
	update := flag.Lookup("update").Value.String() == "true"
	files, err := filepath.Glob("../../testdata/*.txtar")
	more, moreErr := filepath.Glob("../../testdata/*/*.txtar")
	if err != nil || moreErr != nil || len(files) == 0 || len(more) == 0 {
		t.Fatal("no cases", err, moreErr)
	}
	files = append(files, more...)
	plays := 0
	t.Cleanup(func() {
		conformance.Add(t, "cases-messages", "Whole messages: %d cases, %d of them attacks, played %d times because some cases are repeated with each DNS failure (testdata).", len(files), len(more), plays)
	})
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parts := map[string]string{}
		for _, f := range ar.Files {
			parts[f.Name] = string(f.Data)
		}
		if len(strings.TrimSpace(string(ar.Comment))) == 0 {
			t.Errorf("%s has no comment that states its purpose", file)
		}
		faults := []string{""}
		if strings.Contains(parts["dns"], "%FAULT%") {
			faults = []string{"SERVFAIL", "REFUSED", "TIMEOUT", "TRUNCATED-ONLY", "TRUNCATED", "WRONG-ID", "WRONG-QUESTION", "OTHER-NAME", "OTHER-TYPE", "LOOP"}
		}
		plays += len(faults)
		for _, fault := range faults {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar")+"/"+fault, func(t *testing.T) {
				if !update {
					t.Parallel()
				}
				want := "want"
				if fault == "TRUNCATED" { // the answer over TCP is complete
					want = "want-truncated"
				}
				record, _, edits, reply := judgeCaseWithin(t, shortTimeout, parts, fault)
				noSentence(t, record)
				got := caseText(record, edits, reply)
				if got != parts[want] { // on a busy machine, an answer may take longer
					got = runCase(t, parts, fault)
				}
				if update {
					rewrite(t, file, want, got)
				} else if got != parts[want] {
					t.Errorf("got\n%swant\n%s", got, parts[want])
				}
			})
		}
	}
}

func rewrite(t *testing.T, file, part, text string) {
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range ar.Files {
		if ar.Files[i].Name == part {
			ar.Files[i].Data = []byte(text)
			part = ""
		}
	}
	if part != "" {
		ar.Files = append(ar.Files, txtar.File{Name: part, Data: []byte(text)})
	}
	if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
		t.Fatal(err)
	}
}

// seal adds an ARC set at the top. The argument words has the form DOMAIN SELECTOR RESULTS.
func seal(t *testing.T, fields []dkim.Field, body []byte, key ed25519.PrivateKey, words string) ([]dkim.Field, []byte) {
	t.Helper()
	domain, rest, _ := strings.Cut(words, " ")
	selector, results, _ := strings.Cut(rest, " ")
	headers := ""
	if h, rest, ok := strings.Cut(results, " "); ok && strings.HasPrefix(h, "h=") {
		headers, results = strings.TrimPrefix(h, "h="), rest
	}
	return rewritten(t, fields, body, testdkim.Sealer{Domain: domain, Selector: selector, Signer: key, Results: results, Headers: headers}.Seal)
}

// signMessage adds a signature at the top. The argument words has the form DOMAIN SELECTOR, followed by TAG=VALUE for each tag that
// Signpost's signer does not write.
func signMessage(t *testing.T, fields []dkim.Field, body []byte, key ed25519.PrivateKey, now time.Time, words []string) ([]dkim.Field, []byte) {
	t.Helper()
	domain, selector := words[0], words[1]
	if len(words) > 2 {
		field := fmt.Sprintf("%s: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=%s; s=%s; bh=$BH; %s; b=$SIG", dkim.SignatureField, domain, selector, strings.Join(words[2:], "; "))
		return rewritten(t, fields, body, func(msg []byte) ([]byte, error) { return testdkim.AddARCField(msg, field, key) })
	}
	signer, err := dkim.NewSigner(fields, []dkim.Key{{Domain: domain, Selector: selector, Signer: key}}, now, time.Hour*24)
	if err != nil {
		t.Fatal(err)
	}
	signer.Write(body)
	signatures, err := signer.Sign()
	if err != nil {
		t.Fatal(err)
	}
	return append(signatures, fields...), body
}

// rewritten returns the message after change was applied to its text.
func rewritten(t *testing.T, fields []dkim.Field, body []byte, change func([]byte) ([]byte, error)) ([]dkim.Field, []byte) {
	t.Helper()
	var msg bytes.Buffer
	for _, f := range fields {
		fmt.Fprintf(&msg, "%s:%s\r\n", f.Name, f.Value)
	}
	fmt.Fprintf(&msg, "\r\n%s", body)
	changed, err := change(msg.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	fields, reader, err := dkim.ReadMessage(bytes.NewReader(changed))
	if err != nil {
		t.Fatal(err)
	}
	if body, err = io.ReadAll(reader); err != nil {
		t.Fatal(err)
	}
	return fields, body
}

// setField changes a header field, or adds it at the top if it does not exist. Its argument words is NAME: VALUE.
func setField(fields []dkim.Field, words string) []dkim.Field {
	name, value, _ := strings.Cut(words, ":")
	for i, f := range fields {
		if strings.EqualFold(f.Name, name) {
			fields[i].Value = value
			return fields
		}
	}
	return putTop(fields, words)
}

// putTop adds a header field at the top. Its argument words is NAME: VALUE.
func putTop(fields []dkim.Field, words string) []dkim.Field {
	name, value, _ := strings.Cut(words, ":")
	return append([]dkim.Field{{Name: name, Value: value}}, fields...)
}

// playCase runs a case through the whole filter. The functions in change may modify the filter first.
func playCase(t *testing.T, parts map[string]string, fault string, change ...func(*filter.Filter)) (record *decision.Record, edits milter.Edits, reply milter.Reply) {
	t.Helper()
	record, _, edits, reply = judgeCase(t, parts, fault, change...)
	return record, edits, reply
}

// runCase plays a case and returns its result in the format of part "want".
func runCase(t *testing.T, parts map[string]string, fault string, change ...func(*filter.Filter)) string {
	t.Helper()
	return caseText(playCase(t, parts, fault, change...))
}

// judgeCase plays a case. It also returns the rules that were in effect.
func judgeCase(t *testing.T, parts map[string]string, fault string, change ...func(*filter.Filter)) (record *decision.Record, rules policy.Rules, edits milter.Edits, reply milter.Reply) {
	t.Helper()
	return judgeCaseWithin(t, caseTimeout, parts, fault, change...)
}

func judgeCaseWithin(t *testing.T, timeout time.Duration, parts map[string]string, fault string, change ...func(*filter.Filter)) (record *decision.Record, rules policy.Rules, edits milter.Edits, reply milter.Reply) {
	t.Helper()
	key := ed25519.NewKeyFromSeed([]byte("a key for the cases, of 32 bytes"))
	published, err := dkim.FormatKeyRecord(key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	server, err := testdns.Start(strings.NewReplacer("%FAULT%", fault, "%KEY%", published).Replace(parts["dns"]))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	conf, err := config.Parse("config", []byte(parts["config"]))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	f := setup.Filter(conf, log)
	f.Keys = func() *keys.Snapshot { return &keys.Snapshot{Set: &keys.Set{}} }
	f.Resolver = dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(server.Addr())}, Timeout: timeout, Now: time.Now, Log: log})
	f.Finished = func(r *decision.Record) { r.Lookups = r.Answered.Lookups(); record = r }
	f.Now = caseTime
	for _, c := range change {
		c(f)
	}

	s := milter.Session{MTA: "mx.example.org", SMTP: true}
	var e milter.Envelope
	fields, body, err := caseMessage(parts)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(parts["session"]) {
		word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch word {
		case "client":
			s.Client = netip.MustParseAddr(rest)
		case "name":
			s.Name = rest
		case "ptr":
			s.PTR = rest
		case "helo":
			s.HELO = rest
		case "from":
			e.Sender = rest
		case "login":
			e.Login = rest
		case "hosted":
			if !f.Keys().Hosted[rest] { // change may already have set the keys from an earlier play
				f.Keys = hosting(t, rest, key)
			}
		case "queue":
			s.SMTP = false
		case "sign":
			fields, body = signMessage(t, fields, body, key, f.Now(), strings.Fields(rest))
		case "seal":
			fields, body = seal(t, fields, body, key, rest)
		case "set":
			fields = setField(fields, rest)
		case "top":
			fields = putTop(fields, rest)
		case "prepend":
			body = append([]byte(rest+"\r\n"), body...)
		case "append":
			body = append(body, rest+"\r\n"...)
		default:
			t.Fatalf("session: %q", line)
		}
	}
	edits, reply, err = play(context.Background(), f, s, e, fields, strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	rules = f.Rules.At(f.Now())
	rules.Hosted = f.Keys().Hosted
	return record, rules, edits, reply
}

// caseTime is the time at which the messages arrive.
func caseTime() time.Time { return time.Unix(1_700_000_000, 0) }

// caseText returns the part "want": codes, and header fields without sentences.
func caseText(record *decision.Record, edits milter.Edits, reply milter.Reply) string {
	var out strings.Builder
	say := func(name, value string) {
		if value != "" {
			fmt.Fprintln(&out, name, value)
		}
	}
	action := string(record.Decided())
	if r := record.Reply; r.Code != 0 {
		action = fmt.Sprintf("%s %d %s", action, r.Code, r.Enhanced)
	}
	say("action", action)
	say("role", strings.TrimSpace(fmt.Sprintf("%s %s", record.Role, reasonText(record.Assignment.Reason))))
	for _, r := range record.Reasons {
		say("reason", reasonText(r))
	}
	for _, r := range record.Verdict.Evidence {
		say("evidence", reasonText(r))
	}
	say("override", string(record.Override))
	say("causes", causes(record))
	if reply.Code != 0 {
		say("reply", fmt.Sprintf("%d %s", reply.Code, reply.Enhanced))
	}
	if edits.Hold != "" {
		say("hold", "yes")
	}
	for _, d := range edits.Delete {
		say("delete", fmt.Sprintf("%s %d", d.Name, d.Index))
	}
	for i := len(edits.Insert) - 1; i >= 0; i-- {
		value := strings.TrimSpace(edits.Insert[i].Value)
		if edits.Insert[i].Name == dkim.SignatureField {
			value, _, _ = strings.Cut(value, "\r\n") // the first line has domain and selector
		}
		if edits.Insert[i].Name == "X-Signpost-Disposition" {
			value, _, _ = strings.Cut(value, ";") // a sentence follows
		}
		say(edits.Insert[i].Name+":", value)
	}
	text := regexp.MustCompile(`\n\t((iprev|spf|dkim|dmarc|arc)=)`).ReplaceAllString(out.String(), "\n    $1")
	text = strings.ReplaceAll(text, "\n\t", " ")
	return regexp.MustCompile(` (header\.b|reason)=("([^"\\]|\\.)*"|[^ ;\n]+)`).ReplaceAllString(text, "")
}

// reasonText returns a reason without sentences: code, domain or -, detail and cause.
func reasonText(r policy.Reason) string {
	return strings.TrimSuffix(strings.TrimRight(strings.Join([]string{string(r.Code), cmp.Or(r.Domain, "-"), r.Detail, r.Cause}, " "), " "), " -")
}

// noSentence checks that reasons, causes and lookups contain only codes and words, not sentences: docs/decisions/decision.md.
func noSentence(t *testing.T, r *decision.Record) {
	t.Helper()
	word := regexp.MustCompile(`^[A-Za-z0-9_]*$`)
	for _, reason := range slices.Concat([]policy.Reason{r.Assignment.Reason}, r.Reasons, r.Verdict.Evidence) {
		rule := slices.Contains([]policy.Code{policy.LocalDeny, policy.LocalAllow, policy.AcceptedForwarder, policy.RelayDenied}, reason.Code)
		if !word.MatchString(string(reason.Code)) || !word.MatchString(reason.Cause) || !rule && strings.Contains(reason.Detail, " ") {
			t.Errorf("a sentence: %+v", reason)
		}
	}
	for cause := range strings.FieldsSeq(causes(r)) {
		if _, cause, _ = strings.Cut(cause, "="); !word.MatchString(cause) {
			t.Errorf("a sentence: %s", cause)
		}
	}
	for _, l := range r.Lookups {
		if !word.MatchString(string(l.Status)) || l.Status == "" {
			t.Errorf("a sentence: %+v", l)
		}
	}
}

// causes returns the causes of the results, method by method.
func causes(r *decision.Record) string {
	var all []string
	add := func(method, cause string) {
		if cause != "" {
			all = append(all, method+"="+cause)
		}
	}
	if r.SPF != nil {
		add("spf", string(r.SPF.Cause))
	}
	for _, s := range r.DKIM {
		add("dkim", string(s.Cause))
	}
	if r.ARC != nil {
		add("arc", string(r.ARC.Cause))
	}
	for _, d := range r.DMARC {
		add("dmarc", string(d.Cause))
	}
	return strings.Join(all, " ")
}
