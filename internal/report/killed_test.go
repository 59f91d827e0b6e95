package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// killAt is the environment variable with the number of the step after which the process of TestKilled kills itself.
const killAt = "SIGNPOST_TEST_KILL_AT"

// accepted is a message that the SMTP server of TestKilled has accepted.
type accepted struct{ ID, File, Destination, MAC, Gzip, Date string }

// A process that makes and sends reports is killed at each step, and started again. No report is lost. A report that was accepted twice,
// because the first acceptance was not recorded, is the same byte for byte.
func TestKilled(t *testing.T) {
	if step := os.Getenv(killAt); step != "" {
		n, err := strconv.Atoi(step)
		ok(t, err)
		sendUntilKilled(t, os.Getenv("SIGNPOST_TEST_DIR"), n)
		return
	}
	dir := t.TempDir()
	j := newJournal(t)
	for i := range 3 {
		j.Add(from(message(), fmt.Sprintf("d%d.example", i)))
	}
	j.Close()
	ok(t, os.Rename(filepath.Dir(j.path), filepath.Join(dir, "journal")))
	finished := false
	for step := 1; !finished; step++ {
		if step > 100 {
			t.Fatal("the process never finishes")
		}
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), killAt+"="+strconv.Itoa(step%4+1), "SIGNPOST_TEST_DIR="+dir)
		out, err := cmd.CombinedOutput()
		if finished = err == nil; err != nil && cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	log, err := os.ReadFile(filepath.Join(dir, "accepted"))
	ok(t, err)
	first, total := map[string]accepted{}, 0
	for line := range bytes.Lines(log) {
		var a accepted
		ok(t, json.Unmarshal(line, &a))
		total++
		key := a.ID + a.Destination
		if was, twice := first[key]; twice && was != a {
			t.Errorf("a second copy differs:\n%+v\n%+v", was, a)
		}
		first[key] = a
	}
	if len(first) != 6 || total == 6 {
		t.Errorf("%d deliveries, %d messages; want 6 deliveries, and more messages because the process was killed", len(first), total)
	}
}

// sendUntilKilled makes the reports of a day and sends them, and kills its process after a number of steps. It uses the present time, so that
// everything that depends on it would differ in a second copy.
func sendUntilKilled(t *testing.T, dir string, steps int) {
	step := func() {
		if steps--; steps == 0 {
			ok(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
			select {}
		}
	}
	ctx := t.Context()
	s, err := OpenState(ctx, filepath.Join(dir, "reports", "reports.db"), true, time.Now)
	ok(t, err)
	key, err := LoadKey(filepath.Join(dir, "reports", "key"))
	ok(t, err)
	collected, err := s.Collected(ctx, monday())
	ok(t, err)
	if !collected {
		sender := Sender{Domain: "reports.example.net", OrgName: time.Now().String(), Generator: "Signpost " + time.Now().String()}
		for domain, r := range collectedReports(t, dir) {
			if has, err := s.Has(ctx, r.ID(sender.Domain)); has || err != nil {
				ok(t, err)
				continue
			}
			f, err := r.File(sender)
			ok(t, err)
			var to []Destination
			for _, address := range []string{"a@" + domain, "b@" + domain} {
				to = append(to, Destination{address, domain, key.MAC(address, f.ID)})
			}
			_, err = s.Freeze(ctx, f.Frozen(r, sender, time.Now()), to)
			ok(t, err)
			step()
		}
		ok(t, s.SetCollected(ctx, monday()))
		step()
	}
	server, err := os.OpenFile(filepath.Join(dir, "accepted"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ok(t, err)
	all, err := s.Due(ctx)
	ok(t, err)
	for _, d := range all {
		f, _, _, err := s.Find(ctx, d.Report.ID)
		ok(t, err)
		line, err := json.Marshal(accepted{f.ID, f.File, d.Destination, d.MAC, string(f.Gzip), f.Created.String() + f.OrgName})
		ok(t, err)
		_, err = server.Write(append(line, '\n'))
		ok(t, err)
		step()
		ok(t, s.Move(ctx, f.ID, d.Destination, StageAccepted, "250 2.0.0 Ok"))
		step()
	}
}

func collectedReports(t *testing.T, dir string) map[string]*Report {
	t.Helper()
	return collected(t, filepath.Join(dir, "journal", "journal.db"), monday(), Options{})
}
