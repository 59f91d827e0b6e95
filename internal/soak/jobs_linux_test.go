package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"signpost/internal/soak/judge"
	"signpost/internal/soak/traffic"
)

// between is the time between two runs of a job. Cron and the timers run them less often.
const between = 20 * time.Second

// cron runs the jobs of both hosts until ctx ends. They may fail during faults. Then a later run does the work.
func (w *world) cron(ctx context.Context) {
	for {
		for _, h := range w.hosts {
			for _, job := range [][]string{{"dkimkey", "rotate"}, {"signpost", "reports", "read"}} {
				if out, err := w.try(h, job[0], job[1:]...); err != nil {
					w.Logf("%s host %s: %v: %v\n%s", time.Now().Format(time.TimeOnly), h.Name, job, err, out)
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(between):
		}
	}
}

// buildSender builds a signpost that also sends the reports about today in a cluster, and returns its name. The test ends before the reports are
// sent, so the rest of today has no messages.
func (w *world) buildSender() string {
	w.Helper()
	const check = "conf.Clustered() && clock.now().After(time.Now())"
	source, err := filepath.Abs("../../cmd/signpost/reports_send.go")
	must(w.T, err)
	text, err := os.ReadFile(source)
	must(w.T, err)
	if strings.Count(string(text), check) != 1 {
		w.Fatalf("%s has no %q", source, check)
	}
	changed, overlay := filepath.Join(w.dir, "reports_send.go"), filepath.Join(w.dir, "overlay.json")
	must(w.T, os.WriteFile(changed, []byte(strings.Replace(string(text), check, "false", 1)), 0o644))
	must(w.T, os.WriteFile(overlay, fmt.Appendf(nil, `{"Replace": {%q: %q}}`, source, changed), 0o644))
	dir := filepath.Join(w.dir, "sender")
	w.build(dir, "-overlay="+overlay)
	return filepath.Join(dir, "signpost")
}

// finishReports sends the reports about today, and reads all reports that arrived. The judge then has all numbers.
func (w *world) finishReports(j *judge.Judge) {
	w.Helper()
	var mu sync.Mutex
	tomorrow := time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)
	want := len(traffic.Reported())
	for limit := time.Now().Add(2 * drain); w.post.reports < want; time.Sleep(time.Second) {
		if time.Now().After(limit) {
			w.Errorf("%d reports arrived, want %d", w.post.reports, want)
			break
		}
		for _, h := range w.hosts {
			out, err := w.try(h, w.sender, "reports", "send", "--now", "--date", tomorrow, "--postfix", filepath.Join(h.mta.Dir, "etc"))
			w.Logf("host %s: reports send: %v\n%s", h.Name, err, out)
		}
		w.collect(j, &mu)
	}
	for range 3 { // both read what arrived, then what the other host shared
		for _, h := range w.hosts {
			w.Logf("host %s: reports read: %s", h.Name, w.run(h, "signpost", "reports", "read"))
		}
	}
	var first map[string]int64
	for _, h := range w.hosts {
		var found struct {
			Domains []struct {
				Domain   string
				Messages int64
			}
		}
		must(w.T, json.Unmarshal([]byte(w.run(h, "signpost", "reports", "received", "--json")), &found))
		all := map[string]int64{}
		for _, d := range found.Domains {
			all[d.Domain] = d.Messages
		}
		if first == nil {
			first = all
			for _, domain := range w.ours() {
				j.Read(domain, all[domain])
			}
			continue
		}
		for _, domain := range w.ours() {
			if first[domain] != all[domain] {
				w.Errorf("received reports about %s: %d messages at %s, %d at %s", domain, first[domain], w.hosts[0].Name, all[domain], h.Name)
			}
		}
	}
}
