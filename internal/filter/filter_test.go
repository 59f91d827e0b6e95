package filter

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dns"
	"signpost/internal/spf"
	"signpost/keys"
	"signpost/milter"
	"signpost/policy"
)

func newFilter(t *testing.T, records string) *Filter {
	t.Helper()
	zone, err := dns.ParseZone(strings.NewReader(records), "zone")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	return &Filter{
		Keys:     func() *keys.Snapshot { return &keys.Snapshot{Set: &keys.Set{}} },
		Resolver: zone.Resolver(time.Now, log), MessageTimeout: 20 * time.Second, Now: time.Now, Log: log,
		Rules: policy.Rules{Reject: policy.RejectOnEvidence, Quarantine: policy.QuarantineTag},
	}
}

// If a body arrives slowly, the lookups after its end still have the same time.
func TestLongBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFilter(t, "_dmarc.example.com. TXT \"v=DMARC1; p=reject\"\nbounce.example.com. TXT \"v=spf1 +all\"\n")
		m := f.Begin(t.Context(), milter.Session{MTA: "mx", SMTP: true, Client: netip.MustParseAddr("203.0.113.9")}, milter.Envelope{Sender: "a@bounce.example.com"})
		m.Header("From", " ann@example.com")
		m.EndHeaders("Q")
		time.Sleep(time.Hour)
		m.Body([]byte("text\r\n"))
		edits, reply := m.Finish(t.Context())
		if reply.Code != 0 || len(edits.Insert) != 1 || !strings.Contains(edits.Insert[0].Value, "dmarc=pass") {
			t.Errorf("%+v %+v", edits, reply)
		}
	})
}

// A value hides a field if it contains a line end that does not begin a fold, and the name of an important field follows. A fold never
// hides a field, whatever its text.
func TestHidesField(t *testing.T) {
	for value, want := range map[string]bool{
		"x\rFrom: y":                            true,
		"x\nfrom\t: y":                          true,
		"x\r\nAuthentication-Results : y":       true,
		"x\r\r\ra\rX-Signpost-Disposition:y":    true,
		"x\n From: y":                           false,
		"x\r\n\tFrom: y":                        false,
		"x: From: y":                            false,
		"x\rTo: From: y":                        false,
		"x\rFrom":                               false,
		strings.Repeat("\r", 1<<20) + "From: y": true, // in one pass
	} {
		if hidesField(value) != want {
			t.Errorf("%.60q: want %v", value, want)
		}
	}
}

// Our own fields never contain field names that a sender chooses, however many such names there are.
func TestFieldNamesAreNotCopied(t *testing.T) {
	f := newFilter(t, "_dmarc.example.com. TXT \"v=DMARC1; p=reject\"\n_dmarc.resender.example. TXT \"v=DMARC1; p=none\"\nresender.example. TXT \"v=spf1 +all\"\n")
	m := f.Begin(t.Context(), milter.Session{MTA: "mx", SMTP: true, Client: netip.MustParseAddr("203.0.113.9")}, milter.Envelope{Sender: "x@resender.example"})
	m.Header("From", " ann@example.com")
	for range 400 {
		m.Header("Resent-"+strings.Repeat("x", 900), " x")
		m.Header("Resent-\x1b[2J", " x")
	}
	m.Header("Resent-From", " \"\x1b[2J\" <x@resender.example>")
	m.Header("Resent-From", " x@mail.resender.example")
	m.EndHeaders("Q")
	if edits, reply := m.Finish(t.Context()); reply.Code != 550 {
		t.Errorf("a field with a control character is evidence: %+v %+v", edits, reply)
	}
	m = f.Begin(t.Context(), milter.Session{MTA: "mx", SMTP: true, Client: netip.MustParseAddr("203.0.113.9")}, milter.Envelope{Sender: "x@resender.example"})
	m.Header("From", " ann@example.com")
	m.Header("Resent-\x1b[2J", " x")
	m.Header("Resent-From", " x@mail.resender.example")
	m.EndHeaders("Q")
	edits, _ := m.Finish(t.Context())
	relay := policy.Reason{Code: policy.ResentRelay, Domain: "resender.example", Detail: "spf"}
	if len(edits.Insert) != 2 || !strings.HasPrefix(edits.Insert[0].Value, " quarantine; ") || !strings.HasSuffix(edits.Insert[0].Value, relay.String()) {
		t.Errorf("%+v", edits)
	}
}

// The log line of a rejected message has all evidence for the rejection, however long the names are. Values that the client chose are
// cut.
func TestLogBounds(t *testing.T) {
	author := strings.Repeat(strings.Repeat("a", 60)+".", 3) + "example"
	f := newFilter(t, "_dmarc."+author+". TXT \"v=DMARC1; p=reject\"\n")
	var log bytes.Buffer
	f.Log = slog.New(slog.NewTextHandler(&log, nil))
	m := f.Begin(t.Context(), milter.Session{MTA: "mx", SMTP: true, HELO: strings.Repeat("h", 5000), Client: netip.MustParseAddr("203.0.113.9")},
		milter.Envelope{Sender: strings.Repeat("s", 5000) + "@\x1b[2J\nqueue_id=forged"})
	m.Header("From", " x@"+author)
	m.Header("Message-ID", strings.Repeat("i", 5000))
	m.EndHeaders("Q")
	_, reply := m.Finish(t.Context())
	if reply.Code != 550 || !strings.Contains(log.String(), " evidence=") {
		t.Errorf("%+v %s", reply, log.String())
	}
	if log.Len() > 4<<10 || strings.Count(log.String(), "\n") != 1 || strings.Contains(log.String(), "\x1b") {
		t.Errorf("%d bytes: %q", log.Len(), log.String())
	}
}

// A log line has at most 4 KiB in both formats, whatever a sender writes and however it is escaped.
func TestLogLineIsBounded(t *testing.T) {
	for _, junk := range []string{"a", " ", "\x01", "\xff", "a\xff", "\n", "\r\n", "\t", "\"", "\\", "<", "=", "\x7f", "\u0085", "\u2028", "\u200b", "é", "\U0001F600", "\U0010FFFF"} {
		for _, n := range []int{60, 127, 250, 5000} {
			long := strings.Repeat(junk, n/len(junk))
			r := &decision.Record{Verdict: policy.Verdict{Action: policy.Reject, Reasons: []policy.Reason{{Code: policy.LocalDeny, Detail: long}}}}
			r.Role, r.HELO, r.Sender, r.Login, r.MessageID = policy.RoleVerify, long, long, long, long
			r.Recipients = slices.Repeat([]string{long}, 20)
			r.SPF = &spf.Result{Status: spf.None}
			r.Others = []policy.Other{{Method: "spf", Result: "pass", Domain: long, Reason: long}}
			r.Verdict.Evidence = []policy.Reason{{Code: policy.RelayDenied, Domain: long, Detail: long}}
			var text, js bytes.Buffer
			for log, h := range map[*bytes.Buffer]slog.Handler{&text: slog.NewTextHandler(&text, nil), &js: slog.NewJSONHandler(&js, nil)} {
				(&Filter{Log: slog.New(h)}).log(t.Context(), r)
				if log.Len() > 4<<10 || strings.Count(log.String(), "\n") != 1 {
					t.Errorf("%q: %d bytes: %q", junk, log.Len(), log.String())
				}
			}
		}
	}
}

// Fields without an authserv-id claim nothing. They are removed, but not counted as forged fields, because the number of forged fields
// can cause an alarm.
func TestCountsRemoved(t *testing.T) {
	f := newFilter(t, "")
	var log bytes.Buffer
	var counted *decision.Record
	f.Log, f.Finished = slog.New(slog.NewTextHandler(&log, nil)), func(r *decision.Record) { counted = r }
	m := f.Begin(t.Context(), milter.Session{MTA: "mx.example.net", SMTP: true, Client: netip.MustParseAddr("203.0.113.9")}, milter.Envelope{})
	m.Header("From", " ann@example.com")
	m.Header("Authentication-Results", " dkim=none (message not signed) header.d=none;dmarc=none action=none header.from=example.com")
	m.Header("Authentication-Results", " x;mx.example.net; dmarc=pass")
	m.Header("Authentication-Results", " (mx.example.net) dmarc=pass header.from=example.com")
	m.Header("Authentication-Results", " mx.example.com; dmarc=pass header.from=example.com")
	m.Header("X-Signpost-Disposition", " none")
	m.EndHeaders("Q")
	edits, _ := m.Finish(t.Context())
	if len(edits.Delete) != 4 {
		t.Errorf("deletes %v", edits.Delete)
	}
	if !strings.Contains(log.String(), " forged_fields_removed=3 unnamed_results_removed=1 ") {
		t.Error(log.String())
	}
	if counted.Forged != 3 || counted.Unnamed != 1 {
		t.Errorf("counted %d forged, %d unnamed", counted.Forged, counted.Unnamed)
	}
}

// A panic in a task affects only its message. wait panics too, so that package milter recovers it and replies 451.
func TestTaskPanics(t *testing.T) {
	task := begin(slog.New(slog.DiscardHandler), "test", func() int { panic("defect") })
	defer func() {
		if recover() == nil {
			t.Error("the panic is lost")
		}
	}()
	task.wait()
}

// When a message ends early, all its tasks end.
func TestAbortEndsTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFilter(t, "")
		ctx, cancel := context.WithCancel(t.Context())
		m := f.Begin(ctx, milter.Session{MTA: "mx", SMTP: true, Client: netip.MustParseAddr("203.0.113.9")}, milter.Envelope{Sender: "a@example.com"})
		m.Header("From", " ann@example.com")
		m.EndHeaders("Q")
		cancel()
		synctest.Wait() // the test fails if a goroutine is left
	})
}
