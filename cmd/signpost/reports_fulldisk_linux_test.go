package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"signpost/internal/decision"
	"signpost/internal/testdns"
)

// While the disk of reports.db becomes full again and again, each report reaches each of its destinations. There are few further copies, and
// these are the same byte for byte. When a run sends nothing, the disk gets a little more space, so that it becomes full
// at different steps.
func TestReportsFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a full disk is a tmpfs, and mounting one needs root")
	}
	const domains = 20
	var zone strings.Builder
	for i := range domains {
		fmt.Fprintf(&zone, "d%d.example. TXT \"v=spf1 ip4:192.0.2.2 -all\"\n_dmarc.d%d.example. TXT \"v=DMARC1; p=none; rua=mailto:one@d%d.example,mailto:two@d%d.example\"\n", i, i, i, i)
	}
	server, err := testdns.Start(zone.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	r := newReporter(t, "a.example", server.Addr())
	day := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -1)
	var all []*decision.Record
	for i := range domains {
		from := fmt.Sprintf("x@d%d.example", i)
		all = append(all, r.receive(letter{client: "192.0.2.2", from: from, to: "ann@a.example", text: "From: " + from + "\n\ntext\n"}))
	}
	keepReports(t, r.conf, day.Add(12*time.Hour), all...)
	dir := filepath.Join(r.dir, "reports")
	green, err := os.ReadFile(filepath.Join(dir, "progress.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16k,mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	put(t, filepath.Join(dir, "progress.json"), string(green))
	texts, copies, most, full, done := map[string]string{}, map[string]int{}, 0, 0, false
	for size := 44; size < 4000 && most <= 4 && !done; {
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%dk", size)); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := r.run("reports", "send", "--now", "--date", day.AddDate(0, 0, 1).Format(time.DateOnly))
		if done = code == 0; !done {
			full++
		}
		if !done && !strings.Contains(stderr, "full") && !strings.Contains(stderr, "no space") {
			t.Errorf("%d KiB: %s", size, stderr)
		}
		r.mu.Lock()
		for _, l := range r.sent {
			id := l.text[strings.Index(l.text, "Report-ID:"):strings.Index(l.text, "Date:")] + l.to
			if earlier, is := texts[id]; is && earlier != l.from+l.text {
				t.Errorf("%d KiB: another copy of the report to %s differs:\n%s\n%s", size, l.to, earlier, l.from+l.text)
			}
			texts[id] = l.from + l.text
			copies[id]++
			most = max(most, copies[id])
		}
		if len(r.sent) == 0 {
			size += 12
		}
		r.sent = nil
		r.mu.Unlock()
	}
	if len(texts) != 2*domains || most > 4 || full < 5 || !done {
		t.Errorf("%d different copies, want %d; at most %d times; %d runs with a full disk; done %v", len(texts), 2*domains, most, full, done)
	}
}
