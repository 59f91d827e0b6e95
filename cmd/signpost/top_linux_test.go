package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"signpost/internal/config"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/filter"
	"signpost/internal/journal"
	"signpost/policy"
)

// terminal is a pseudo terminal: what is written to it, and what it was asked for.
type terminal struct {
	master, slave *os.File
	mu            sync.Mutex
	shown         bytes.Buffer
}

func newTerminal(t *testing.T, columns, rows uint16) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows})
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	term := &terminal{master: master, slave: slave}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			if err != nil {
				return
			}
			term.mu.Lock()
			term.shown.Write(b[:n])
			term.mu.Unlock()
		}
	}()
	return term
}

func (t *terminal) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.shown.String()
}

// topConfig is a configuration with a journal of one message, whose sender wrote evil wherever he could.
func topConfig(t *testing.T, evil string) *config.Config {
	t.Helper()
	conf := config.Default()
	conf.StateDir = t.TempDir()
	j := journal.Open(journal.Options{Path: filepath.Join(conf.StateDir, "journal", "journal.db"), Limits: journalLimits(conf), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	j.Add(filter.Report{Assignment: policy.Assignment{Role: policy.Verify}, Done: "refused 550 5.7.1",
		Evidence: policy.Evidence{QueueID: "4f", Author: dmarc.Author{Domains: []string{evil}}, DMARC: []dmarc.Result{{Status: dmarc.Fail, Domain: evil}}},
		Lookups:  []dns.Lookup{{Name: evil + ".", Type: "TXT", Answer: "the time for it was up", Took: 2 * time.Second}}})
	j.Close()
	return conf
}

// top shows frames on a terminal, in lines that fit, and leaves it as it was, whichever way it ends.
func TestTop(t *testing.T) {
	conf := topConfig(t, "evil\x1b[2J\x07\n\u202e.example")
	for name, end := range map[string]func(*terminal, func()){
		"q":       func(term *terminal, _ func()) { _, _ = term.master.WriteString("q") },
		"^C":      func(term *terminal, _ func()) { _, _ = term.master.WriteString("\x03") },
		"SIGTERM": func(_ *terminal, stop func()) { stop() },
	} {
		term := newTerminal(t, 44, 60)
		fd := int(term.slave.Fd())
		before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- top(ctx, conf, term.slave, term.slave) }()
		poll(t, term, "q ends", "Keys")
		end(term, stop)
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		stop()
		after, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil || *after != *before {
			t.Errorf("%s: the terminal is not as before: %v", name, err)
		}
		poll(t, term, leaveScreen)
		shown := term.String()
		if !strings.HasPrefix(shown, enterScreen) || !strings.HasSuffix(shown, leaveScreen) {
			t.Errorf("%s: %q", name, shown)
		}
		body := strings.TrimSuffix(strings.TrimPrefix(shown, enterScreen), leaveScreen)
		for _, ours := range []string{homeCursor, clearLine, clearBelow, "\x1b[31m", "\x1b[90m", "\x1b[0m"} {
			body = strings.ReplaceAll(body, ours, "")
		}
		if strings.ContainsAny(body, "\x1b\x07\u202e") || !strings.Contains(body, "evil?[2J???.example") {
			t.Errorf("%s: a name does something to the terminal, or is not there: %q", name, body)
		}
		for line := range strings.SplitSeq(body, "\r\n") {
			if len([]rune(line)) > 44 {
				t.Errorf("%s: too long: %q", name, line)
			}
		}
	}
}

// poll waits until a terminal shows texts.
func poll(t *testing.T, term *terminal, texts ...string) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		shown, all := term.String(), true
		for _, text := range texts {
			all = all && strings.Contains(shown, text)
		}
		if all {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("it does not show %q: %q", texts, shown)
		}
	}
}

// Without a terminal one frame is printed, without escapes: counts, who fails, what DNS did.
func TestTopPrints(t *testing.T) {
	var out bytes.Buffer
	if err := top(t.Context(), topConfig(t, "forged.example"), nil, &out); err != nil {
		t.Fatal(err)
	}
	words := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{"refused 1 0.1", "DMARC fail 1", "1 asked, 1 failed, 1 took a second or more", "1 forged.example", "lost not known: metrics.listen is empty"} {
		if !strings.Contains(words, want) {
			t.Errorf("it does not say %q:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("%q", out.String())
	}
}
