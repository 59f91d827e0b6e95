package worker

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"signpost/internal/report/read"
	"signpost/internal/report/status"
)

// killAt is the environment variable with the number of the step at which the process of TestKilled kills itself.
const killAt = "SIGNPOST_TEST_KILL_AT"

// A process that reads the spool is killed before and after it stores or counts a message, and started again. No report is lost or stored twice.
func TestKilled(t *testing.T) {
	if step := os.Getenv(killAt); step != "" {
		n, err := strconv.Atoi(step)
		ok(t, err)
		s := openSite(t, os.Getenv("SIGNPOST_TEST_DIR"), "")
		next := func() {
			if n--; n == 0 {
				ok(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
				select {}
			}
		}
		s.Parse = func(r io.Reader) (*read.Report, error) { next(); return parse(r) }
		// A context is asked for its end between any two steps of the database.
		_, _, err = s.Run(steps{t.Context(), next}, status.Received{})
		ok(t, err)
		return
	}
	s := newSite(t, "")
	const reports = 4
	for n := range reports {
		s.spool(t, read.Arrived{Reporter: "a.example"}, s.about(fmt.Sprint(n), read.Row{Source: s.Site.Networks[0].Addr(), Count: int64(n + 1), SPF: true}))
	}
	s.spool(t, read.Arrived{Reporter: "a.example"}, read.Malformed)
	killed := 0
	for finished := false; !finished; {
		if killed > 200 {
			t.Fatal("the process never finishes")
		}
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), killAt+"="+strconv.Itoa(killed*2+1), "SIGNPOST_TEST_DIR="+s.dir)
		out, err := cmd.CombinedOutput()
		if finished = err == nil; err != nil {
			killed++
			if cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("%v\n%s", err, out)
			}
		}
	}
	numbers, err := s.Store.Numbers(t.Context())
	ok(t, err)
	kept, err := os.ReadDir(s.Unread)
	ok(t, err)
	waiting, err := s.waiting()
	ok(t, err)
	if numbers.Stored["aggregate"] != reports || waiting != 0 || len(kept) != 1 || killed < 5 {
		t.Errorf("killed %d times: %d reports stored, %d waiting, %d unreadable kept; want %d, 0, 1", killed, numbers.Stored["aggregate"], waiting, len(kept), reports)
	}
	// A process that is killed after a report is in the database leaves its message in the spool.
	s.n = 0
	for n := range reports {
		s.spool(t, read.Arrived{Reporter: "a.example"}, s.about(fmt.Sprint(n)))
	}
	if result, summary := s.run(t, status.Received{}); summary[status.Duplicate] != reports || result.Stored["aggregate"] != reports {
		t.Errorf("after a second reading: %v, %v", summary, result.Stored)
	}
}

// steps is a context that calls a function each time somebody asks whether it has ended.
type steps struct {
	context.Context
	next func()
}

func (s steps) Done() <-chan struct{} { s.next(); return s.Context.Done() }
