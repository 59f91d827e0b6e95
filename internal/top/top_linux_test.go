package top

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

	"signpost/internal/decision"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/journal"
	"signpost/internal/term"
	"signpost/keys"
	"signpost/policy"
)

// terminal is a pseudo-terminal with the text that was written to it.
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
	tty := &terminal{master: master, slave: slave}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			if err != nil {
				return
			}
			tty.mu.Lock()
			tty.shown.Write(b[:n])
			tty.mu.Unlock()
		}
	}()
	return tty
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

// journalVariable is the environment variable that makes the test program run top for a journal. The test can then stop that process.
const journalVariable = "TOP_TEST_JOURNAL"

func TestMain(m *testing.M) {
	if path := os.Getenv(journalVariable); path != "" {
		if err := Run(context.Background(), sourceIn(path), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// These are the control sequences of a screen.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	homeCursor  = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// sourceIn returns the Source of a journal.
func sourceIn(path string) Source {
	return Source{File: path, Open: func() (*journal.Reader, error) { return journal.OpenReader(path) },
		Keys: func(time.Time) ([]keys.Status, error) { return nil, nil }}
}

func open(path string, now func() time.Time) *journal.Journal {
	return journal.Open(journal.Options{Path: path, Limits: journal.Limits{Keep: 24 * time.Hour, MaxSize: 64 << 20, Addresses: journal.Full}, Now: now, Log: slog.New(slog.DiscardHandler)})
}

// oneMessage returns the Source of a journal with one message. Each field that a sender can choose contains the text evil.
func oneMessage(t *testing.T, evil string) Source {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal", "journal.db")
	j := open(path, time.Now)
	j.Add(&decision.Record{Assignment: policy.Assignment{Role: policy.RoleVerify}, Verdict: policy.Verdict{Action: policy.Reject},
		Evidence: policy.Evidence{QueueID: "4f", Author: dmarc.Author{Domains: []string{evil}}, DMARC: []dmarc.Result{{Status: dmarc.Fail, Domain: evil}}},
		Lookups:  []dns.Lookup{{Name: evil + ".", Type: "TXT", Status: dns.Timeout, Took: dns.Millis(2 * time.Second)}}})
	j.Close()
	return sourceIn(path)
}

// Run draws frames that fit the terminal, and restores the terminal whenever it returns.
func TestTop(t *testing.T) {
	source := oneMessage(t, "evil\x1b[2J\x07\n\u202e.example")
	for name, end := range map[string]func(*terminal, func()){
		"q":       func(tty *terminal, _ func()) { _, _ = tty.master.WriteString("q") },
		"^C":      func(tty *terminal, _ func()) { _, _ = tty.master.WriteString("\x03") },
		"SIGTERM": func(_ *terminal, stop func()) { stop() },
	} {
		tty := newTerminal(t, 44, 60)
		fd := int(tty.slave.Fd())
		before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- Run(ctx, source, tty.slave, tty.slave) }()
		poll(t, tty, "q quits", "Keys")
		end(tty, stop)
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		stop()
		after, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil || *after != *before {
			t.Errorf("%s: the terminal was not restored: %v", name, err)
		}
		poll(t, tty, leaveScreen)
		shown := tty.String()
		if !strings.HasPrefix(shown, enterScreen) || !strings.HasSuffix(shown, leaveScreen) {
			t.Errorf("%s: %q", name, shown)
		}
		body := strings.TrimSuffix(strings.TrimPrefix(shown, enterScreen), leaveScreen)
		for _, ours := range []string{homeCursor, clearLine, clearBelow, "\x1b[31m", "\x1b[90m", "\x1b[0m"} {
			body = strings.ReplaceAll(body, ours, "")
		}
		if strings.ContainsAny(body, "\x1b\x07\u202e") || !strings.Contains(body, "evil?[2J???.example") {
			t.Errorf("%s: a name controls the terminal, or is missing: %q", name, body)
		}
		for line := range strings.SplitSeq(body, "\r\n") {
			if len([]rune(line)) > 44 {
				t.Errorf("%s: too long: %q", name, line)
			}
		}
	}
}

// poll waits until a terminal shows texts.
func poll(t *testing.T, tty *terminal, texts ...string) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		shown, all := tty.String(), true
		for _, text := range texts {
			all = all && strings.Contains(shown, text)
		}
		if all {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%q is missing: %q", texts, shown)
		}
	}
}

// seenOn returns the text on a terminal after a program sent control sequences and text. It understands only the sequences of top. The
// result spoilt is not empty if a line wraps or the screen scrolls.
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
				return "", "a line wraps"
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

// If the window changes its size, top draws a frame of the new size, and removes the old frame completely. A window of 80 columns and
// 24 lines shows a part of each block.
func TestTopResized(t *testing.T) {
	tty := newTerminal(t, 100, 50)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	source := oneMessage(t, "forged.example")
	go func() { done <- Run(ctx, source, tty.slave, tty.slave) }()
	t.Cleanup(func() {
		stop()
		<-done
	})
	poll(t, tty, "Keys")
	for _, to := range []struct {
		columns, rows uint16
		want          []string
	}{
		{40, 10, []string{"Messages/min 1 min  10 min\n", "more: in a larger window)"}},
		{200, 60, []string{"Messages/min 1 min  10 min  Results", "Keys"}},
		{1, 1, []string{"s"}},
		{80, 24, []string{"reject           1     0.1", "DMARC  fail 1", "1 sent, 1 failed, 1 took a second or more", "domains", "clients", "Keys"}},
	} {
		if err := unix.IoctlSetWinsize(int(tty.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: to.columns, Row: to.rows}); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
			t.Fatal(err)
		}
		missing := func() string {
			sent := tty.String()
			shown, spoilt := seenOn(sent[strings.LastIndex(sent, homeCursor):], int(to.columns), int(to.rows))
			for _, want := range to.want {
				if spoilt == "" && !strings.Contains(shown, want) {
					spoilt = fmt.Sprintf("%q is missing:\n%s", want, shown)
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

// No frame is larger than its window.
func TestTopFits(t *testing.T) {
	w := &watch{Source: oneMessage(t, strings.Repeat("long.", 40)+"example")}
	if err := w.look(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	for columns := 1; columns < 130; columns += 3 {
		for rows := 1; rows < 60; rows++ {
			lines := w.frame(time.Now(), columns, rows, term.Painter{})
			if len(lines) > rows || len(lines) == 0 {
				t.Fatalf("%dx%d: %d lines", columns, rows, len(lines))
			}
			for _, l := range lines {
				if l.Columns > columns || l.Columns != term.Columns(l.Text) {
					t.Fatalf("%dx%d: %q", columns, rows, l.Text)
				}
			}
		}
	}
}

// ^Z restores the terminal and stops the process until the shell continues it with fg.
func TestTopPaused(t *testing.T) {
	source := oneMessage(t, "forged.example")
	tty := newTerminal(t, 80, 24)
	fd := int(tty.slave.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty.slave, tty.slave, tty.slave
	cmd.Env = append(os.Environ(), "TERM=xterm", journalVariable+"="+source.File)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for range 2 {
		poll(t, tty, "q quits", "Keys")
		if _, err := tty.master.WriteString("\x1a"); err != nil {
			t.Fatal(err)
		}
		var state unix.WaitStatus
		if _, err := unix.Wait4(cmd.Process.Pid, &state, unix.WUNTRACED, nil); err != nil || !state.Stopped() {
			t.Fatalf("top is not stopped: %v %v", state, err)
		}
		poll(t, tty, leaveScreen)
		if paused, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil || *paused != *before {
			t.Fatalf("the terminal was not restored: %v", err)
		}
		tty.reset()
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		poll(t, tty, enterScreen)
	}
	if _, err := tty.master.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if after, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil || *after != *before {
		t.Fatalf("the terminal was not restored: %v", err)
	}
}

// If there are more new messages than top reads at a time, top shows the shorter period that its numbers cover.
func TestTopMuchMail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal", "journal.db")
	var came atomic.Int64
	now := time.Now()
	j := open(path, func() time.Time { return now.Add(-250*time.Second + time.Duration(came.Load())*100*time.Millisecond) })
	for range backlog + 500 { // fewer than the maximum of the journal
		j.Add(&decision.Record{Assignment: policy.Assignment{Role: policy.RoleVerify}, Verdict: policy.Verdict{Action: policy.Accept}})
		came.Add(1)
	}
	j.Close()
	w := &watch{Source: sourceIn(path)}
	if err := w.look(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, l := range w.frame(now, term.LineWidth, 0, term.Painter{}) {
		text.WriteString(l.Text + "\n")
	}
	for _, want := range []string{"Messages/min 1 min   3 min", "  600.0\n", "Results, last 3 min"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing:\n%s", want, text.String())
		}
	}
}

// On a terminal without control sequences, top prints one frame.
func TestTopOnDumbTerminal(t *testing.T) {
	t.Setenv("TERM", "dumb")
	tty := newTerminal(t, 80, 24)
	if err := Run(t.Context(), oneMessage(t, "forged.example"), tty.slave, tty.slave); err != nil {
		t.Fatal(err)
	}
	poll(t, tty, "Keys")
	if shown := tty.String(); strings.Contains(shown, "\x1b") || strings.Contains(shown, "q quits") {
		t.Errorf("%q", shown)
	}
}
