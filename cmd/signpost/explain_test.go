package main

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"signpost/internal/decision"
	"signpost/internal/explain"
	"signpost/internal/journal"
	"signpost/internal/term"
	"signpost/internal/testmilter"
)

// keepAll writes records into a journal in a new directory, and opens it.
func keepAll(t *testing.T, now func() time.Time, keep journal.Addresses, records ...*decision.Record) (*journal.Reader, string) {
	t.Helper()
	var log syncBuffer
	path := filepath.Join(t.TempDir(), "journal", "journal.db")
	j := journal.Open(journal.Options{Path: path, Limits: journal.Limits{Keep: 24 * time.Hour, MaxSize: 64 << 20, Addresses: keep}, Now: now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for _, r := range records {
		j.Add(r)
	}
	j.Close()
	if log.String() != "" {
		t.Fatal(log.String())
	}
	r, err := journal.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r, path
}

// Each case is explained from the journal, and the text names the deciding result. If the case has a part "explain", the whole text
// must match. -update writes that part. Read the differences before you commit.
func TestCasesExplained(t *testing.T) {
	update := flag.Lookup("update").Value.String() == "true"
	files, err := filepath.Glob("../../testdata/*.txtar")
	more, moreErr := filepath.Glob("../../testdata/*/*.txtar")
	if err != nil || moreErr != nil || len(files) == 0 || len(more) == 0 {
		t.Fatal("no cases", err, moreErr)
	}
	files = append(files, more...)
	parts := make([]map[string]string, len(files))
	records := make([]*decision.Record, len(files))
	t.Run("play", func(t *testing.T) {
		for i, file := range files {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts[i] = map[string]string{}
			for _, f := range ar.Files {
				parts[i][f.Name] = string(f.Data)
			}
			t.Run(filepath.Base(file), func(t *testing.T) {
				t.Parallel()
				records[i], _, _ = playCase(t, parts[i], "SERVFAIL")
				records[i].QueueID = strings.TrimSuffix(filepath.Base(file), ".txtar")
			})
		}
	})
	r, _ := keepAll(t, caseTime, journal.Omit, records...)
	golden := 0
	for i, file := range files {
		id := records[i].QueueID
		found, err := r.Find(t.Context(), id)
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %d messages, %v", id, len(found), err)
		}
		var b bytes.Buffer
		explain.WriteEntry(&b, &found[0])
		text := b.String()
		help := explain.Message(&found[0].Record).Help
		for _, want := range append(help, explain.Why(&found[0].Record), string(found[0].Action), string(found[0].Code)) {
			if !strings.Contains(oneLine(text), oneLine(term.Printable(want))) {
				t.Errorf("%s: %q is missing\n%s", id, want, text)
			}
		}
		if found[0].Outcome().Failed() && len(help) == 0 {
			t.Errorf("%s: it does not name a fix\n%s", id, text)
		}
		want, ok := parts[i]["explain"]
		if !ok {
			continue
		}
		golden++
		if update {
			rewrite(t, file, "explain", text)
		} else if text != want {
			t.Errorf("%s: got\n%swant\n%s", id, text, want)
		}
	}
	if golden < 8 || golden > 15 {
		t.Errorf("%d golden texts", golden)
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// A message that a running daemon rejected can be explained immediately, with the reply that the client received. No DNS query is sent.
func TestExplainWhileServing(t *testing.T) {
	d := startDaemon(t, "_dmarc.example.org. TXT \"v=DMARC1; p=reject\"\nstranger.example. TXT \"v=spf1 ip4:192.0.2.10 -all\"\n", "")
	defer d.stop()
	m := testmilter.Dial(t, "unix", d.socket)
	m.Connect()
	answers := m.Message("x@stranger.example", "From\x00 Ann <ann@example.org>\x00", "Message-ID\x00 <1@stranger.example>\x00")
	told := strings.TrimSuffix(strings.TrimPrefix(answers[len(answers)-1], "y"), "\x00")
	if !strings.HasPrefix(told, "550 5.7.1 ") {
		t.Fatalf("%q", answers)
	}
	a := &archive{t: t, dir: filepath.Dir(d.socket), file: filepath.Join(t.TempDir(), "signpost.toml")}
	put(t, a.file, fmt.Sprintf("state_dir = %q\n", a.dir))
	var code int
	var out, stderr string
	d.until("the journal has the message", func() bool {
		code, out, stderr = a.run("explain", "QUEUEID")
		return code == 0
	})
	for _, want := range []string{
		"MAIL FROM <...@stranger.example>", "Message-ID <1@stranger.example>", "record stranger.example: v=spf1 ip4:192.0.2.10 -all",
		"_dmarc.example.org: v=DMARC1; p=reject", "action reject 550 5.7.1", "code dmarc_fail", "reply " + told,
	} {
		if !strings.Contains(oneLine(out), want) {
			t.Errorf("%q is missing\n%s%s", want, out, stderr)
		}
	}
}
