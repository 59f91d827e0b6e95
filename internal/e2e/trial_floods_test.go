package e2e

import (
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ten calls signpost test ten times at once, and returns the outputs.
func (w *trialWorld) ten(args ...string) []string {
	w.t.Helper()
	var runs sync.WaitGroup
	outs := make([]string, 10)
	begin := time.Now()
	for i := range outs {
		runs.Go(func() { _, outs[i] = w.test(args...) })
	}
	runs.Wait()
	if d := time.Since(begin); d > time.Minute {
		w.t.Errorf("ten runs of %q took %v", args, d)
	}
	return outs
}

// ids counts the Message-IDs of tests in Postfix's log, each once.
func (w *trialWorld) ids() int {
	seen := map[string]bool{}
	for line := range strings.Lines(w.Log()) {
		if _, id, ok := strings.Cut(line, ": message-id=<signpost-test."); ok {
			seen[id] = true
		}
	}
	return len(seen)
}

// Ten runs at once against a Postfix that cannot deliver, a full queue, or a daemon that is stopped: each run ends, names the fault, and has
// sent each message once at most.
func TestTrialFloods(t *testing.T) {
	if os.Getenv("SIGNPOST_FLOODS") == "" {
		t.Skip("takes half a minute; make matrix sets SIGNPOST_FLOODS")
	}
	w := newTrialWorld(t)
	w.timeout = "6s"
	w.setting([]string{"transport_maps = inline:{ *=retry:4.3.0 later }"}, nil, func() {
		for _, out := range w.ten(w.login("bob@example.org")...) {
			if strings.Count(out, "yellow delivery: Postfix could not deliver the message to bob@example.org yet") != 2 {
				t.Errorf("not deferred\n%s", out)
			}
		}
		if n := w.ids(); n != 20 {
			t.Errorf("%d messages, want 20", n)
		}
	})
	w.setting([]string{"queue_minfree = 1000000000000000"}, nil, func() {
		for _, out := range w.ten(w.login("bob@example.org")...) {
			if strings.Count(out, "red    queue: ") != 1 || !strings.Contains(out, "452 4.3.1 Insufficient system storage") { // pickup(8) does not check the space
				t.Errorf("the full queue has no finding\n%s", out)
			}
		}
	})
	before := w.ids()
	w.timeout = "2s"
	if err := w.daemon.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var outs, alone, forged []string
	var groups sync.WaitGroup
	groups.Go(func() { outs = w.ten(w.login("bob@example.org")...) })
	groups.Go(func() { alone = w.ten("--socket") })
	groups.Go(func() { forged = w.ten("--forge", "--server", w.SMTP) })
	groups.Wait()
	w.must(w.daemon.cmd.Process.Signal(syscall.SIGCONT))
	for _, out := range outs {
		if !strings.Contains(out, "red    milter: ") && strings.Count(out, "red    queue: ") != 2 {
			t.Errorf("the stopped daemon has no finding\n%s", out)
		}
	}
	for _, out := range alone {
		if !strings.Contains(out, "red    daemon: no answer of the daemon") {
			t.Errorf("--socket: no finding\n%s", out)
		}
	}
	for _, out := range forged {
		if !strings.Contains(out, " forgery: ") || strings.Contains(out, "green  forgery: ") {
			t.Errorf("--forge: no finding\n%s", out)
		}
	}
	w.until("the queue is empty", func() bool {
		out, err := w.Run(w.context(), "postqueue", "-p")
		return err == nil && strings.Contains(out, "Mail queue is empty")
	})
	if n := w.ids() - before; n > 10 {
		t.Errorf("%d messages after the daemon continued, want 10 at most", n)
	}
}

// An address that a shell, sendmail(1) or Postfix could treat in a special way is only an address, or it is refused.
func TestTrialOddAddresses(t *testing.T) {
	w := newTrialWorld(t)
	for _, local := range []string{"-x", "--", "-oQ/tmp", "|true", "/tmp/x", "a%b.example", "b.example!a", "$IFS", "`id`", "#x", "'x'", "{x}"} {
		address := local + "@example.org"
		code, out := w.test("--login=ann@example.org", "--password-file", w.password, "--server", w.Submission, "--from=ann@example.org", "--", address)
		if n := strings.Count(out, "green  delivery: Postfix delivered the message to "+address+": delivered to maildir"); code > 1 || n != 2 && strings.Count(out, "red    queue: ")+strings.Count(out, "red    delivery: Postfix could not deliver the message to "+address)+n != 2 {
			t.Errorf("%s: exit code %d\n%s", address, code, out)
		}
	}
	for _, address := range []string{"", "@example.org", "a b@example.org", "\"a b\"@example.org", "a\nb@example.org", "a\rb@example.org", "a\x1b[2J@example.org", "änn@example.org", "<a@example.org>", "a@example.org,b@example.org", "a@[127.0.0.1]", "a@-.example", "a@b@example.org", "$(id)@example.org", "a..b@example.org", ".@example.org", "a.@example.org"} {
		for _, args := range [][]string{{"--", address}, {"--from=" + address, "--", "bob@example.org"}, {"--forge", "--", address}} {
			if code, out := w.test(args...); code != 2 && address != "" || strings.Contains(out, "\x1b") || strings.Contains(w.Log(), "a b") {
				t.Errorf("%q: exit code %d\n%s", args, code, out)
			}
		}
	}
	// A U-label is sent as an A-label.
	if _, out := w.test("--", "bob@exämple.example"); !strings.Contains(out, "to bob@xn--exmple-cua.example, ") {
		t.Errorf("not an A-label\n%s", out)
	}
}
