package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/daemon"
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

func (t *terminal) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shown.Reset()
}

// topConfig is a configuration with a journal of one message, whose sender wrote evil wherever he could.
func topConfig(t *testing.T, evil string) *config.Config {
	t.Helper()
	conf := config.Default()
	conf.StateDir = t.TempDir()
	j := journal.Open(journal.Options{Path: filepath.Join(conf.StateDir, "journal", "journal.db"), Limits: daemon.JournalLimits(conf), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
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

// seenOn is what a person sees of what a terminal was sent: only what top sends is understood. Lines do not go on in the next
// one: where they would, or the last one would scroll, spoilt says so.
func seenOn(sent string, columns, rows int) (shown, spoilt string) {
	grid := make([][]rune, rows)
	x, y := 0, 0
	clear := func(y, from int) { grid[y] = append(grid[y][:from:from], []rune(strings.Repeat(" ", columns-from))...) }
	for y := range grid {
		clear(y, 0)
	}
	escape := regexp.MustCompile(`^\x1b\[[0-9;]*[A-Za-z]`)
	for len(sent) > 0 {
		switch code := escape.FindString(sent); {
		case code == homeCursor:
			x, y = 0, 0
			sent = sent[len(code):]
		case code == clearLine:
			clear(y, min(x, columns-1))
			sent = sent[len(code):]
		case code == clearBelow:
			clear(y, min(x, columns-1))
			for below := y + 1; below < rows; below++ {
				clear(below, 0)
			}
			sent = sent[len(code):]
		case strings.HasSuffix(code, "m"): // a colour
			sent = sent[len(code):]
		case strings.HasPrefix(sent, "\r\n"):
			if x, y = 0, y+1; y == rows {
				return "", "it scrolls"
			}
			sent = sent[2:]
		default:
			r, n := utf8.DecodeRuneInString(sent)
			if x == columns {
				return "", "a line goes on in the next one"
			}
			grid[y][x] = r
			x, sent = x+1, sent[n:]
		}
	}
	for _, line := range grid {
		shown += strings.TrimRight(string(line), " ") + "\n"
	}
	return shown, ""
}

// A window that changes its size has a frame of the new size, which leaves nothing of the old one. In one of 80 columns and 24
// lines there is something of everything.
func TestTopResized(t *testing.T) {
	term := newTerminal(t, 100, 50)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	conf := topConfig(t, "forged.example")
	go func() { done <- top(ctx, conf, term.slave, term.slave) }()
	t.Cleanup(func() {
		stop()
		<-done
	})
	poll(t, term, "Keys")
	for _, to := range []struct {
		columns, rows uint16
		want          []string
	}{
		{40, 10, []string{"Messages/min 1 min  10 min\n", "more: in a larger window)"}},
		{200, 60, []string{"Messages/min 1 min  10 min  Results", "Keys"}},
		{1, 1, []string{"s"}},
		{80, 24, []string{"refused          1     0.1", "DMARC  fail 1", "1 asked, 1 failed, 1 took a second or more", "domains", "clients", "Keys"}},
	} {
		if err := unix.IoctlSetWinsize(int(term.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: to.columns, Row: to.rows}); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
			t.Fatal(err)
		}
		missing := func() string {
			sent := term.String()
			shown, spoilt := seenOn(sent[strings.LastIndex(sent, homeCursor):], int(to.columns), int(to.rows))
			for _, want := range to.want {
				if spoilt == "" && !strings.Contains(shown, want) {
					spoilt = fmt.Sprintf("it does not show %q:\n%s", want, shown)
				}
			}
			return spoilt
		}
		for limit := time.Now().Add(20 * time.Second); missing() != ""; time.Sleep(2 * time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("%d columns, %d lines: %s", to.columns, to.rows, missing())
			}
		}
	}
}

// Whatever the size of the window, no frame is larger.
func TestTopFits(t *testing.T) {
	w := &watch{conf: topConfig(t, strings.Repeat("long.", 40)+"example")}
	if err := w.look(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	for columns := 1; columns < 130; columns += 3 {
		for rows := 1; rows < 60; rows++ {
			lines := w.frame(time.Now(), columns, rows, cli.Painter{})
			if len(lines) > rows || len(lines) == 0 {
				t.Fatalf("%dx%d: %d lines", columns, rows, len(lines))
			}
			for _, l := range lines {
				if l.columns > columns || l.columns != cli.Columns(l.text) {
					t.Fatalf("%dx%d: %q", columns, rows, l.text)
				}
			}
		}
	}
}

// ^Z gives the terminal back until the shell says fg.
func TestTopPaused(t *testing.T) {
	conf := topConfig(t, "forged.example")
	file := filepath.Join(t.TempDir(), "signpost.toml")
	put(t, file, fmt.Sprintf("state_dir = %q\n", conf.StateDir))
	term := newTerminal(t, 80, 24)
	fd := int(term.slave.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("signpost", "top", "-c", file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.slave, term.slave, term.slave
	cmd.Env = append(os.Environ(), "TERM=xterm")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for range 2 {
		poll(t, term, "q ends", "Keys")
		if _, err := term.master.WriteString("\x1a"); err != nil {
			t.Fatal(err)
		}
		var state unix.WaitStatus
		if _, err := unix.Wait4(cmd.Process.Pid, &state, unix.WUNTRACED, nil); err != nil || !state.Stopped() {
			t.Fatalf("it is not stopped: %v %v", state, err)
		}
		poll(t, term, leaveScreen)
		if paused, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil || *paused != *before {
			t.Fatalf("the terminal is not as before: %v", err)
		}
		term.reset()
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		poll(t, term, enterScreen)
	}
	if _, err := term.master.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if after, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil || *after != *before {
		t.Fatalf("the terminal is not as before: %v", err)
	}
}

// Where more messages came than are read at a look, top says for how short a time its numbers are.
func TestTopMuchMail(t *testing.T) {
	conf := config.Default()
	conf.StateDir = t.TempDir()
	var came atomic.Int64
	now := time.Now()
	j := journal.Open(journal.Options{Path: conf.JournalFile(), Limits: daemon.JournalLimits(conf), Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return now.Add(-250*time.Second + time.Duration(came.Load())*100*time.Millisecond) }})
	for range backlog + 500 { // fewer than the journal has room for
		j.Add(filter.Report{Assignment: policy.Assignment{Role: policy.Verify}, Done: "accepted"})
		came.Add(1)
	}
	j.Close()
	w := &watch{conf: conf}
	if err := w.look(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, l := range w.frame(now, lineWidth, 0, cli.Painter{}) {
		text.WriteString(l.text + "\n")
	}
	for _, want := range []string{"Messages/min 1 min   3 min", "  600.0\n", "Results, last 3 min"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, text.String())
		}
	}
}

// A terminal that knows no escapes is printed to, as none is.
func TestTopOnDumbTerminal(t *testing.T) {
	t.Setenv("TERM", "dumb")
	term := newTerminal(t, 80, 24)
	if err := top(t.Context(), topConfig(t, "forged.example"), term.slave, term.slave); err != nil {
		t.Fatal(err)
	}
	poll(t, term, "Keys")
	if shown := term.String(); strings.Contains(shown, "\x1b") || strings.Contains(shown, "q ends") {
		t.Errorf("%q", shown)
	}
}

// A daemon that has gone is missed, where it would have metrics.
func TestTopMissesDaemon(t *testing.T) {
	conf := topConfig(t, "forged.example")
	conf.MetricsListen = "127.0.0.1:1"
	var out bytes.Buffer
	if err := top(t.Context(), conf, nil, &out); err != nil {
		t.Fatal(err)
	}
	if want := "the daemon does not answer at 127.0.0.1:1 (metrics.listen)"; !strings.Contains(out.String(), want) {
		t.Errorf("it does not say %q:\n%s", want, &out)
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
