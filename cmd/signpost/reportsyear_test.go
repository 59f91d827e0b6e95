package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/report/received"
	"signpost/internal/testsql"
)

// reportYear is a year of a site that sends reports about its mail and receives reports about its domain. Each fault lasts a day or more.
type reportYear struct {
	*reportSite
	random *rand.Rand
	// The numbers of messages by day and Author Domain: of all journals, of lost journals, and of the reports that were sent.
	mailed, lost, reported map[string]int
	waiting                map[*reportHost]map[string]int // the messages that a host has not counted in the database, by day and Author Domain
	seen                   map[string]string              // the reports that were sent, by ID and destination
	told                   map[int]int64                  // the messages in the reports that were received, by day
	down                   *reportHost
	up                     int // the day on which down returns
	noDB                   bool
	had                    map[string]int
	events                 strings.Builder
}

// Two hosts send and receive reports for a year, in a cluster, while journals and received reports expire, and with the faults of such a time. Each
// message is in exactly one report, no report is sent again with other content, and no directory grows without a bound.
func TestYearOfReports(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, server *testsql.Server) {
		days := 4
		if text := os.Getenv("SIGNPOST_DAYS"); text != "" {
			var err error
			if days, err = strconv.Atoi(text); err != nil {
				t.Fatal(err)
			}
		}
		seed := uint64(20261201)
		if text := os.Getenv("SIGNPOST_SEED"); text != "" {
			var err error
			if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		y := &reportYear{reportSite: newReportSite(t, server, "a", "b"), random: rand.New(rand.NewPCG(seed, 1)),
			mailed: map[string]int{}, lost: map[string]int{}, reported: map[string]int{}, waiting: map[*reportHost]map[string]int{}, seen: map[string]string{}, told: map[int]int64{}, had: map[string]int{}}
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("%s", y.events.String())
				t.Logf("to repeat this test:\nSIGNPOST_SEED=%d SIGNPOST_DAYS=%d go test -count=1 -timeout 3h -run '^%s$' ./cmd/signpost", seed, days, t.Name())
			}
		})
		today := time.Now().UTC().Truncate(24 * time.Hour)
		for _, h := range y.hosts {
			y.receives(h)
			y.waiting[h] = map[string]int{}
		}
		for n := range days + 4 { // the last days have neither mail nor faults
			y.day = today.AddDate(0, 0, n-days-4)
			y.oneDay(n, n < days)
			if t.Failed() {
				t.Fatalf("day %d", n)
			}
		}
		y.judge(days)
		fmt.Printf("%s: %d days: %d reports, faults: %v\n", server.Name, days, len(y.seen), y.had)
	})
}

// retention of received reports in this test.
const yearRetention = 30

// receives lets a host receive reports about a.example.
func (y *reportYear) receives(h *reportHost) {
	y.Helper()
	text, err := os.ReadFile(h.file)
	if err != nil {
		y.Fatal(err)
	}
	put(y.T, h.file, fmt.Sprintf("%s\n[reports.receive]\naddresses = [\"dmarc@a.example\"]\ntrusted_reporters = [\"r.example\"]\nretention = \"%dd\"\n", text, yearRetention))
	if h.conf, err = config.Load(h.file); err != nil {
		y.Fatal(err)
	}
	for _, dir := range []string{"reports/in", "hosted"} {
		if err := os.MkdirAll(filepath.Join(h.dir, dir), 0o700); err != nil {
			y.Fatal(err)
		}
	}
	put(y.T, filepath.Join(h.dir, "hosted", "a.example"), "")
}

// oneDay is a day of both hosts.
func (y *reportYear) oneDay(n int, normal bool) {
	y.Helper()
	if y.noDB {
		y.start()
		y.noDB = false
	}
	if y.down != nil && (n >= y.up || !normal) {
		y.down = nil
	}
	if normal && y.random.IntN(2) == 0 {
		y.fault(n)
	}
	if y.down != nil && !y.noDB {
		y.server.Run(y.name, "UPDATE sp_lease SET until = 0") // it ends after a minute of real time
	}
	for _, all := range y.waiting { // docs/reports.md: after three days, the counts of a host that was away are not reported
		for key, k := range all {
			if key < y.day.AddDate(0, 0, -3).Format(time.DateOnly) {
				y.lost[key] += k
				delete(all, key)
			}
		}
	}
	y.runs(20 * time.Minute)
	y.runs(8 * hour)
	for _, h := range y.working() {
		if normal {
			y.arrive(h, n)
		}
	}
	y.reads(8 * hour)
	for i, after := range []time.Duration{9 * hour, 15 * hour} {
		for _, h := range y.working() {
			for _, domain := range []string{"c.example", "d.example"} {
				if k := y.random.IntN(4); normal && k > 0 {
					h.mail(after, domain, k)
					fmt.Fprintf(&y.events, "%s %s at %s: %d\n", y.day.Format(time.DateOnly), domain, h.name, k)
					y.mailed[y.key(domain)] += k
					y.waiting[h][y.key(domain)] += k
				}
			}
		}
		if i == 0 && normal && y.random.IntN(10) == 0 {
			y.loseJournal()
		}
		y.runs(after + hour)
	}
	y.collect()
	if n%30 == 29 {
		y.sizes()
	}
}

func (y *reportYear) key(domain string) string { return y.day.Format(time.DateOnly) + " " + domain }

// working returns the hosts that are not down, in a random order.
func (y *reportYear) working() (all []*reportHost) {
	for _, i := range y.random.Perm(len(y.hosts)) {
		if y.hosts[i] != y.down {
			all = append(all, y.hosts[i])
		}
	}
	return all
}

// fault begins a fault. A host that is down for less than three days loses nothing.
func (y *reportYear) fault(n int) {
	switch name := []string{"host down", "no database", "database restarted"}[y.random.IntN(3)]; {
	case name == "host down" && y.down == nil:
		y.down, y.up = y.hosts[y.random.IntN(len(y.hosts))], n+1+y.random.IntN(2)
		y.happens(name + " " + y.down.name)
	case name == "no database":
		y.server.Stop()
		y.noDB = true
		y.happens(name)
	case name == "database restarted":
		y.server.Stop()
		y.start()
		y.happens(name)
	}
}

// happens notes a fault.
func (y *reportYear) happens(name string) {
	y.had[name]++
	fmt.Fprintf(&y.events, "%s %s\n", y.day.Format(time.DateOnly), name)
}

// start starts the database. The first use of a connection that was closed is an error.
func (y *reportYear) start() {
	y.server.Start()
	for range 3 {
		for _, h := range y.hosts {
			_ = h.host.Sync(y.Context())
		}
	}
}

// loseJournal deletes the journal of a host: its messages of this day may be in no report.
func (y *reportYear) loseJournal() {
	y.Helper()
	h := y.working()[0]
	files, err := filepath.Glob(h.conf.JournalFile() + "*")
	if err != nil {
		y.Fatal(err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			y.Fatal(err)
		}
	}
	keepReports(y.T, h.conf, y.now()) // the daemon creates another one
	for ago := range 3 {              // those of days before are counted when the database is back
		for _, domain := range []string{"c.example", "d.example"} {
			key := y.day.AddDate(0, 0, -ago).Format(time.DateOnly) + " " + domain
			y.lost[key] = max(y.lost[key], y.mailed[key])
		}
	}
	clear(y.waiting[h])
	y.happens("journal lost " + h.name)
}

// runs runs signpost reports send on the hosts that work. It may fail while the database is down.
func (y *reportYear) runs(after time.Duration) {
	y.Helper()
	if y.noDB && after != 10*hour { // each run waits for the database
		return
	}
	if !y.noDB {
		for _, h := range y.working() {
			defer y.polls(h, after)()
		}
	}
	for range 2 { // all write their counts, then one sends
		for _, h := range y.working() {
			stderr, err := h.at(after)
			if err != nil && !y.noDB {
				y.Errorf("%s host %s: reports send: %v\n%s", y.now().Format(time.DateTime), h.name, err, stderr)
			}
			if err == nil {
				clear(y.waiting[h])
			}
		}
	}
}

// arrive puts a report about the day before into the spool of a host. Half of them arrive at both hosts.
func (y *reportYear) arrive(h *reportHost, n int) {
	y.Helper()
	if y.told[n] > 0 && y.random.IntN(2) == 0 {
		return
	}
	if y.told[n] == 0 {
		y.told[n] = 1 + y.random.Int64N(1000)
	}
	fmt.Fprintf(&y.events, "%s report %d arrives at %s: %d\n", y.day.Format(time.DateOnly), n, h.name, y.told[n])
	begin := y.day.AddDate(0, 0, -1).Unix()
	put(y.T, filepath.Join(h.dir, "reports", "in", y.day.Format("20060102T050000.000000-A")+".eml"), fmt.Sprintf(`{"queue_id":"4fXy%d","received":%q,"recipient":"dmarc@a.example","reporter":"r.example"}`, n, y.day.Add(5*hour).Format(time.RFC3339))+
		strings.Repeat(" ", 100)+"\nFrom: noreply@r.example\r\nContent-Type: text/xml\r\n\r\n"+fmt.Sprintf(`<feedback><report_metadata><org_name>R</org_name><email>noreply@r.example</email><report_id>%d</report_id><date_range><begin>%d</begin><end>%d</end></date_range></report_metadata>`+
		`<policy_published><domain>a.example</domain><p>reject</p></policy_published><record><row><source_ip>192.0.2.1</source_ip><count>%d</count><policy_evaluated><disposition>none</disposition><dkim>fail</dkim><spf>pass</spf></policy_evaluated></row>`+
		`<identifiers><header_from>a.example</header_from></identifiers><auth_results><spf><domain>a.example</domain><result>pass</result></spf></auth_results></record></feedback>`, n, begin, begin+86399, y.told[n]))
}

// reads runs signpost reports read on the hosts that work.
func (y *reportYear) reads(after time.Duration) {
	y.Helper()
	y.clock.Store(y.day.Add(after).UnixNano())
	for range 2 { // what arrived, then what the other host shared
		if y.noDB {
			return
		}
		for _, h := range y.working() {
			_ = h.host.Sync(y.Context())
			var out, errs bytes.Buffer
			if err := readReceived(y.Context(), h.conf, y.now, false, &out, &errs); err != nil && !y.noDB {
				y.Errorf("%s host %s: reports read: %v\n%s%s", y.now().Format(time.DateTime), h.name, err, out.String(), errs.String())
			}
			fmt.Fprintf(&y.events, "%s %s reads: %s%s", y.day.Format(time.DateOnly), h.name, out.String(), errs.String())
		}
	}
}

// collect counts the reports that were sent.
func (y *reportYear) collect() {
	y.Helper()
	for _, h := range y.hosts {
		h.mu.Lock()
		sent := h.reporter.sent
		h.reporter.sent = nil
		h.mu.Unlock()
		for _, l := range sent {
			f, name := parseFeedback(y.T, l.text)
			if old, again := y.seen[f.ID+l.to]; again {
				if old != l.from+l.text {
					y.Errorf("report %s about %s was sent to %s twice, and differs", f.ID, f.Domain, l.to)
				}
				continue
			}
			y.seen[f.ID+l.to] = l.from + l.text
			parts := strings.Split(name, "!")
			begin, err := strconv.ParseInt(parts[2], 10, 64)
			if err != nil {
				y.Fatal(name, err)
			}
			for _, r := range f.Records {
				y.reported[time.Unix(begin, 0).UTC().Format(time.DateOnly)+" "+f.Domain] += r.Count
			}
		}
	}
}

// sizes checks that no host keeps more than a month of anything.
func (y *reportYear) sizes() {
	y.Helper()
	for _, h := range y.hosts {
		files, size := 0, int64(0)
		if err := filepath.WalkDir(h.dir, func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			files, size = files+1, size+info.Size()
			return err
		}); err != nil {
			y.Fatal(err)
		}
		if files > 60 || size > 8<<20 {
			y.Errorf("host %s has %d files with %d KiB", h.name, files, size>>10)
		}
	}
}

// judge compares all numbers with what happened.
func (y *reportYear) judge(days int) {
	y.Helper()
	for key, n := range y.mailed {
		if got := y.reported[key]; got > n || got < n-y.lost[key] {
			y.Errorf("%s: %d messages in reports, want %d, of which %d may be missing", key, got, n, y.lost[key])
		}
	}
	for key := range y.reported {
		if y.mailed[key] == 0 {
			y.Errorf("%s: a report about no messages", key)
		}
	}
	var least, most int64
	for n, messages := range y.told {
		switch age := days + 3 - n + 1; {
		case age < yearRetention:
			least, most = least+messages, most+messages
		case age < yearRetention+3:
			most += messages
		}
	}
	for _, h := range y.hosts {
		code, out, stderr := h.run("reports", "received", "--json", "--since", "390d")
		var found struct{ Domains []received.Domain }
		if err := json.Unmarshal([]byte(out), &found); err != nil || code != 0 {
			y.Fatal(err, out, stderr)
		}
		var got int64
		for _, d := range found.Domains {
			got += d.Messages
		}
		if got < least || got > most {
			y.Errorf("host %s: %d messages in received reports, want %d to %d", h.name, got, least, most)
		}
	}
}
