package main

import (
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-milter"
	"golang.org/x/sys/unix"
)

// allReplies requests every event. Only the end of a message gets a reply.
const allReplies = allEvents &^ (milter.OptNoConnect | milter.OptNoHelo | milter.OptNoMailFrom | milter.OptNoRcptTo | milter.OptNoData | milter.OptNoBody |
	milter.OptNoHeaders | milter.OptNoEOH)

// load sends seven messages to a fake that answers each, at most three on a connection.
func load(t *testing.T, f *fake) (latencies []time.Duration, err error) {
	t.Helper()
	s := &server{name: "fake", sockets: []string{f.serve(t)}}
	pool := []*mail{letter(1, 4<<10, sender(), "ann@example.com"), letter(2, 4<<10, sender(), "ann@example.com")}
	l := &loader{server: s, cell: cell{role: verifying, size: 4 << 10, sessions: 1, perSession: 3}, pool: pool, limit: 7}
	latencies, err = l.run(1, replyTimeout)
	f.stop()
	return latencies, err
}

// Each message is counted once, and each connection has the requested number of messages.
func TestRun(t *testing.T) {
	f := &fake{events: allReplies, answers: map[byte]string{'E': "i\x00\x00\x00\x00Authentication-Results\x00mx;dkim=pass\x00 c"}}
	latencies, err := load(t, f)
	if err != nil || len(latencies) != 7 {
		t.Errorf("%d messages, %v, want 7", len(latencies), err)
	}
	counts := map[byte]int{}
	for _, g := range f.got {
		counts[g[0]]++
	}
	// There is an ABORT before each message except the first of a connection. There are two ABORTs before each QUIT.
	if counts['E'] != 7 || counts['O'] != 3 || counts['C'] != 3 || counts['A'] != 4+2*3 || counts['Q'] != 3 {
		t.Errorf("packets %v", counts)
	}
}

// A wrong answer under load ends the measurement.
func TestRunWrong(t *testing.T) {
	for answer, want := range map[string]string{
		"c":                "no result",
		"y550_5.7.1\x00":   "answered with 'y'",
		"hX\x00none\x00 c": "no result",
	} {
		f := &fake{events: allReplies, answers: map[byte]string{'E': answer}}
		if _, err := load(t, f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", answer, err, want)
		}
	}
}

// cpuTime reads the same processor time of a process as the process reads itself.
func TestCPUTime(t *testing.T) {
	own := func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
			t.Fatal(err)
		}
		return time.Duration(ts.Nano())
	}
	before := own()
	got, err := cpuTime([]int{os.Getpid()})
	if after := own(); err != nil || got < before || got > after {
		t.Errorf("%v, %v; want %v to %v", got, err, before, after)
	}
}

// Work that a server does after its last reply counts.
func TestFinished(t *testing.T) {
	var ended atomic.Bool
	go func() {
		for until := time.Now().Add(2 * quietTime); time.Now().Before(until); {
		}
		ended.Store(true)
	}()
	if _, err := finished([]int{os.Getpid()}); err != nil || !ended.Load() {
		t.Errorf("the process has finished: %v, %v", ended.Load(), err)
	}
	start := time.Now()
	if cpu, err := finished(nil); cpu != 0 || err != nil || time.Since(start) >= quietTime {
		t.Errorf("%v, %v after %v for no process", cpu, err, time.Since(start))
	}
}

// Children are found, and shared memory of a child is not counted again.
func TestFamily(t *testing.T) {
	cmd := exec.Command("sh", "-c", "cat; exit")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		_ = cmd.Wait()
	}()
	// The output of cat shows that it runs.
	if _, err := in.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	pids := family(cmd.Process.Pid)
	if len(pids) != 2 {
		t.Fatalf("processes %v, want the shell and its child", pids)
	}
	if err := resetPeak(pids); err != nil {
		t.Fatal(err)
	}
	both, err := peakMemory(pids)
	if err != nil {
		t.Fatal(err)
	}
	shell, err := peakMemory(pids[:1])
	if err != nil {
		t.Fatal(err)
	}
	child, err := statusLine(pids[1], "status", "VmHWM")
	if err != nil {
		t.Fatal(err)
	}
	if both < shell || both >= shell+child {
		t.Errorf("%d of both, %d of the shell, %d of its child", both, shell, child)
	}
}
