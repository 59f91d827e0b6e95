package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"signpost/internal/config"
	"signpost/internal/decision"
	"signpost/internal/explain"
	"signpost/internal/journal"
	"signpost/internal/term"
	"signpost/policy"
)

// archive is a state directory with a journal for the commands.
type archive struct {
	t    *testing.T
	file string // the configuration
	dir  string
}

func newArchive(t *testing.T) *archive {
	a := &archive{t: t, dir: t.TempDir()}
	a.file = filepath.Join(a.dir, "signpost.toml")
	if err := os.WriteFile(a.file, fmt.Appendf(nil, "state_dir = %q\n", a.dir), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// open opens the journal for writing, as a daemon does at its start.
func (a *archive) open() *journal.Journal {
	return journal.Open(journal.Options{Path: a.journal(), Limits: journal.Limits{Keep: 24 * time.Hour, MaxSize: 64 << 20, Addresses: journal.Full}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
}

func (a *archive) journal() string { return filepath.Join(a.dir, "journal", "journal.db") }

func (a *archive) keep(reports ...*decision.Record) {
	j := a.open()
	for _, r := range reports {
		j.Add(r)
	}
	j.Close()
}

// run runs a command.
func (a *archive) run(args ...string) (code int, stdout, stderr string) {
	a.t.Helper()
	var out, err bytes.Buffer
	code = run(a.t.Context(), append([]string{"-c", a.file}, args...), &out, &err)
	return code, out.String(), err.String()
}

// caseReports returns the records of cases. The queue ID of each record is the name of the case.
func caseReports(t *testing.T, names ...string) (all []*decision.Record) {
	t.Helper()
	for _, name := range names {
		record, _, _ := playCase(t, caseParts(t, "../../testdata/"+name+".txtar"), "SERVFAIL")
		record.QueueID = filepath.Base(name)
		all = append(all, record)
	}
	return all
}

// Each flag of log selects messages. The newest message is last, and each message is one line.
func TestLog(t *testing.T) {
	a := newArchive(t)
	a.keep(caseReports(t, "forged", "legitimate", "attacks/client-a3", "resent", "fault-policy-tempfail", "observe", "arc-trusted", "ipv6-client")...)
	ids := func(args ...string) string {
		code, out, stderr := a.run(append([]string{"log"}, args...)...)
		if code != 0 || stderr != "" {
			t.Errorf("%q: %d %s", args, code, stderr)
		}
		return strings.Join(queueIDs(out), " ")
	}
	for args, want := range map[string]string{
		"":                                 "forged legitimate client-a3 resent fault-policy-tempfail observe arc-trusted ipv6-client",
		"-n 2":                             "arc-trusted ipv6-client",
		"--failed":                         "forged resent fault-policy-tempfail observe arc-trusted",
		"--action reject":                  "forged observe",
		"--action tag,tempfail":            "resent fault-policy-tempfail",
		"--role sign":                      "client-a3",
		"--client 192.0.2.1":               "legitimate",
		"--client 192.0.2.0/24":            "legitimate",
		"--client 2001:db8::/32":           "ipv6-client",
		"--domain EXAMPLE.com --dkim pass": "legitimate",
		"--dmarc fail --arc pass":          "arc-trusted",
		"--dmarc temperror":                "fault-policy-tempfail",
		"--spf fail":                       "",
		"--since 1h --role sign":           "client-a3",
		"--until 1h":                       "",
		"--until 2001-01-01":               "",
	} {
		if got := ids(strings.Fields(args)...); got != want {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
	_, out, _ := a.run("log")
	why := policy.Reason{Code: policy.DMARCFail, Domain: "example.com", Detail: "p=reject"}.String()
	for _, want := range []string{
		" forged                203.0.113.9  example.com verify reject   spf=pass dkim=none dmarc=fail          " + why + "\n",
		" legitimate            192.0.2.1    example.com verify accept   spf=pass dkim=pass dmarc=pass\n",
		" client-a3             203.0.113.9  example.com sign   sign     keys=key\n",
		" observe               203.0.113.9  example.com verify (reject) spf=pass",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("line %q is missing in\n%s", want, out)
		}
	}
	code, out, _ := a.run("log", "--json", "--role", "sign")
	var e journal.Entry
	if err := json.Unmarshal([]byte(out), &e); code != 0 || err != nil || e.QueueID != "client-a3" || strings.Count(out, "\n") != 1 {
		t.Errorf("%d %v %s", code, err, out)
	}
	for args, want := range map[string]string{
		"--client example.org":   `--client "example.org" is neither an address nor a network`,
		"--spf wrong":            `--spf "wrong" is not allowed; use none, neutral, pass`,
		"--since yesterday":      `--since "yesterday" is not a time`,
		"-n 0":                   "at least 1 is required",
		"-f --until 2030-01-01":  "cannot be combined",
		"--domain not..a.domain": "is not a domain name",
	} {
		if code, _, stderr := a.run(append([]string{"log"}, strings.Fields(args)...)...); code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%q: %d %s", args, code, stderr)
		}
	}
}

// explain finds messages by queue ID and by Message-ID. If several messages have the same ID, all are shown, the newest first. An unknown
// ID is an error that states which messages the journal has.
func TestExplainCommand(t *testing.T) {
	a := newArchive(t)
	if code, _, stderr := a.run("explain", "4none"); code != 1 || !strings.Contains(stderr, a.journal()+": there is no journal here yet") {
		t.Errorf("no journal: %d %s", code, stderr)
	}
	all := caseReports(t, "forged", "legitimate")
	for i := range all {
		all[i].QueueID, all[i].Evidence.MessageID = "4twice", fmt.Sprintf("<%d@example.org>", i)
	}
	a.keep(all...)
	code, out, stderr := a.run("explain", "4twice")
	first, second, _ := strings.Cut(out, "2 of 2 messages with this ID")
	if code != 0 || !strings.HasPrefix(first, "1 of 2 messages") || !strings.Contains(first, "\naction       accept\n") || !strings.Contains(second, "\naction       reject 550 5.7.1\n") {
		t.Errorf("%d %s%s", code, stderr, out)
	}
	if code, out, _ := a.run("explain", "0@example.org"); code != 0 || strings.Contains(out, "of 2") || !strings.Contains(out, "Message-ID   <0@example.org>\n") || !strings.Contains(out, "MAIL FROM    <x@stranger.example>\n") {
		t.Errorf("%d %s", code, out)
	}
	code, out, _ = a.run("explain", "--json", "4twice")
	var entries []journal.Entry
	if err := json.Unmarshal([]byte(out), &entries); code != 0 || err != nil || len(entries) != 2 || entries[1].Action != policy.Reject || entries[1].Code != policy.DMARCFail {
		t.Errorf("%d %v %s", code, err, out)
	}
	code, out, stderr = a.run("explain", "\x1b[31m4other")
	if code != 1 || out != "" || !strings.Contains(stderr, "has the ID ?[31m4other; the journal has messages from 20") || !strings.HasSuffix(stderr, " UTC\n") {
		t.Errorf("%d %s%q", code, out, stderr)
	}
}

// log -f continues when a daemon stops or starts, and when the journal is replaced by a new one. It shows each message once, and an
// interrupt is not an error.
func TestLogFollows(t *testing.T) {
	a := newArchive(t)
	r := caseReports(t, "legitimate")[0]
	add := func(j *journal.Journal, id string) {
		r.QueueID = id
		j.Add(r)
	}
	j := a.open()
	add(j, "4first")
	j.Close()
	conf, err := config.Load(a.file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var out, stderr syncBuffer
	done := make(chan error, 1)
	go func() {
		done <- listMessages(ctx, conf, logOptions{most: 50, follow: true}, journal.Filter{}, &out, &stderr)
	}()
	seen := func(want string) {
		t.Helper()
		got := ""
		for deadline := time.Now().Add(20 * time.Second); got != want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not in time: %q, want %q\n%s", got, want, stderr.String())
			}
			got = strings.Join(queueIDs(out.String()), " ")
		}
	}
	seen("4first")
	j = a.open()
	add(j, "4second")
	seen("4first 4second")
	j.Close()
	j = a.open()
	add(j, "4third")
	add(j, "4fourth")
	seen("4first 4second 4third 4fourth")
	j.Close()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(a.journal()+suffix, a.journal()+".broken"+suffix); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	j = a.open()
	add(j, "4fifth")
	seen("4first 4second 4third 4fourth 4fifth")
	j.Close()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// fill sets all strings in a value, including its nested values.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), text)
		fill(v.Index(1), text)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), text)
			}
		}
	}
}

// Names, addresses, IDs and DNS records may contain any text. Only printable characters reach the terminal, no line of the output can
// be forged, and JSON contains the original text.
func TestHostileHistory(t *testing.T) {
	for name, text := range map[string]string{
		"escapes":   "a\x1b[2J\x1b]0;title\x07\u009b31mb\x00c\x7f",
		"lines":     "a\naction       accept\r\nb\u2028c\u2029d\u0085e\vf\fg",
		"faked":     "a             action       accept                                                                                        action       accept",
		"bidi":      "a\u202eexe.cod\u2066x\u2069\u200fb\u061c\u200b\ufeff\U000e0001",
		"not UTF-8": "a\xff\xc3\x28\xed\xa0\x80b",
		"markup":    `"><script>` + "\t" + `%s%n$(id)`,
		"long":      strings.Repeat("action ", 400),
		"long word": strings.Repeat("宽x", 600),
	} {
		t.Run(name, func(t *testing.T) {
			a := newArchive(t)
			var all []*decision.Record
			statuses := []string{"", "fail", "pass", "temperror", "permerror", "none"}
			if len(text) > 1000 {
				statuses = statuses[1:2] // megabytes of JSON are slow
			}
			for _, role := range []policy.Role{policy.RoleVerify, policy.RoleSign, policy.RoleBypass, ""} {
				for _, status := range statuses {
					var r decision.Record
					fill(reflect.ValueOf(&r).Elem(), text)
					r.Role, r.Action, r.Would, r.Reply.Code, r.Reply.Enhanced = role, policy.Reject, "", 550, "5.7.1"
					r.QueueID = "4hostile"
					if status != "" {
						fill(reflect.ValueOf(&r.Evidence.SPF.Status).Elem(), status)
						fill(reflect.ValueOf(&r.Evidence.ARC.Status).Elem(), status)
						for i := range 2 {
							fill(reflect.ValueOf(&r.Evidence.DKIM[i].Status).Elem(), status)
							fill(reflect.ValueOf(&r.Evidence.DMARC[i].Status).Elem(), status)
						}
						r.Author.Cause = ""
					}
					all = append(all, &r)
				}
			}
			a.keep(all...)
			check := func(code int, out, stderr string) {
				t.Helper()
				if code != 0 || stderr != "" || !utf8.ValidString(out) {
					t.Fatalf("%d %s", code, stderr)
				}
				for _, r := range out {
					if r != '\n' && (!unicode.IsPrint(r)) {
						t.Fatalf("%U reaches the terminal: %.1000q", r, out)
					}
				}
			}
			code, out, stderr := a.run("log")
			check(code, out, stderr)
			if got := len(queueIDs(out)); got != len(all) {
				t.Errorf("%d lines for %d messages", got, len(all))
			}
			code, out, stderr = a.run("explain", "4hostile")
			check(code, out, stderr)
			actions := 0
			for line := range strings.Lines(out) {
				line = strings.TrimSuffix(line, "\n")
				if term.Columns(line) > term.LineWidth {
					t.Errorf("a line of %d columns: %q", term.Columns(line), line)
				}
				if strings.HasPrefix(line, "action ") {
					actions++
					if strings.Join(strings.Fields(line), " ") != "action reject 550 5.7.1" {
						t.Errorf("an action that Signpost does not have: %q", line)
					}
				}
			}
			if actions != len(all) {
				t.Errorf("%d actions for %d messages", actions, len(all))
			}
			is := func(helo string) bool { // the whole text, or its beginning if it is too long for a name
				begin, cut := strings.CutSuffix(helo, "...(cut)")
				return helo == text || cut && len(text) > len(helo) && strings.HasPrefix(text, begin)
			}
			for _, args := range [][]string{{"explain", "--json", "4hostile"}, {"log", "--json"}} {
				code, out, stderr = a.run(args...)
				check(code, out, stderr)
				var e []journal.Entry
				if args[0] == "log" {
					out = "[" + strings.ReplaceAll(strings.TrimSuffix(out, "\n"), "\n", ",") + "]"
				}
				if err := json.Unmarshal([]byte(out), &e); err != nil || len(e) != len(all) || !is(e[0].Evidence.Connection.HELO) && name != "not UTF-8" {
					t.Errorf("%q: %v", args, err)
				}
			}
			r, err := journal.OpenReader(a.journal())
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			found, err := r.Find(t.Context(), "4hostile")
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if err := explain.NewList(&b, 60)(found); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(b.String()) {
				if term.Columns(strings.TrimSuffix(line, "\n")) > 60 {
					t.Errorf("the line is too long for the terminal: %q", line)
				}
			}
		})
	}
}

// queueIDs returns the queue IDs of a list. The first line has the names of the columns.
func queueIDs(list string) (all []string) {
	for line := range strings.Lines(list) {
		if id := strings.Fields(line)[2]; id != "QUEUE_ID" {
			all = append(all, id)
		}
	}
	return all
}
