package e2e

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
)

// peak returns the peak memory of the daemon in KiB.
func (w *world) peak() int {
	w.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.daemon.cmd.Process.Pid))
	if err != nil {
		w.t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		w.t.Fatalf("no VmHWM:\n%s", status)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// Memory does not grow with the size of a message. After messages of up to 1 MiB, a message of 50 MiB adds less than 2 MiB to the daemon's
// peak.
func TestMemory(t *testing.T) {
	w := newWorld(t, setup{program: "plain/signpost", alone: true})
	s := w.dial(w.SMTP, "")
	for range 10 {
		w.send(s, 250, "ann@example.org")
	}
	big := func(mib int) {
		t.Helper()
		w.cmd(s, 250, "MAIL FROM:<ann@example.org>")
		w.cmd(s, 250, "RCPT TO:<bob@example.net>")
		body := bytes.Repeat([]byte("0123456789 0123456789 0123456789 0123456789 0123456789 0123456789\r\n"), mib<<20/67)
		if _, err := s.Data(250, append([]byte("From: ann@example.org\r\nSubject: big\r\n\r\n"), body...)); err != nil {
			t.Fatal(err)
		}
	}
	big(1)
	before := w.peak()
	big(50)
	after := w.peak()
	t.Logf("peak before %d KiB, after 50 MiB %d KiB", before, after)
	if after-before >= 2<<10 {
		t.Errorf("50 MiB added %d KiB to the peak of %d KiB", after-before, before)
	}
	w.signed(w.mail(12), "example.org")
}
