package journal

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

// count returns the number of messages that can be read.
func (d *fixture) count(t *testing.T) (n int) {
	t.Helper()
	err := d.read(t).Each(t.Context(), Filter{}, func(*Entry) bool { n++; return true })
	if err != nil {
		t.Error(err)
	}
	return n
}

// A file that is not a journal, or is damaged, is renamed. The next messages are stored in a new journal.
func TestBroken(t *testing.T) {
	for name, harm := range map[string]func(b []byte) []byte{
		"text":      func([]byte) []byte { return []byte(strings.Repeat("this is no database\n", 1000)) },
		"truncated": func(b []byte) []byte { return b[:len(b)/2] },
		"zeros":     func(b []byte) []byte { clear(b[2*pageSize:]); return b },
		"version":   func(b []byte) []byte { b[63] = 99; return b },
	} {
		t.Run(name, func(t *testing.T) {
			d := newFixture(t)
			d.keep(t, 0, 600)
			b, err := os.ReadFile(d.Path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(d.Path, harm(b), 0o600); err != nil {
				t.Fatal(err)
			}
			d.keep(t, 600, 650) // may lose messages until it notices the damage
			lost := d.lost.Load()
			d.keep(t, 650, 700)
			if n := d.count(t); n < 50 || n > 100 || n+int(lost) < 100 || d.lost.Load() != lost {
				t.Errorf("%d messages kept, %d lost\n%s", n, d.lost.Load(), d.log)
			}
			if log := d.log.String(); !strings.Contains(log, "the journal is damaged; it is renamed and a new one is created") || lost > 0 && !strings.Contains(log, fmt.Sprint("messages=", lost)) {
				t.Errorf("the log: %s", log)
			}
			if _, err := os.Stat(d.Path + ".broken"); err != nil {
				t.Error(err)
			}
		})
	}
}

// overwrite replaces a part of a file by other bytes.
func overwrite(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt([]byte(strings.Repeat("no page of ours ", pageSize/16)), at)
	return err
}

// rootPage returns the number of the first page of a table or an index.
func (d *fixture) rootPage(t *testing.T, name string) (page int64) {
	t.Helper()
	if err := d.read(t).db.QueryRow("SELECT rootpage FROM sqlite_schema WHERE name = ?", name).Scan(&page); err != nil {
		t.Fatal(name, err)
	}
	return page
}

// A file may be damaged while the daemon runs, or the daemon may notice the damage only when it writes. The daemon renames such a file too.
// It keeps the next messages, and counts and logs the messages that were lost in between.
func TestHarmed(t *testing.T) {
	for name, c := range map[string]struct {
		running bool // it is under the daemon
		harm    func(path string, table int64) error
	}{
		"overwritten": {true, func(path string, _ int64) error { return overwrite(path, 0) }},
		"emptied":     {true, func(path string, _ int64) error { return os.Truncate(path, 0) }},
		"a table":     {false, func(path string, table int64) error { return overwrite(path, (table-1)*pageSize) }},
	} {
		t.Run(name, func(t *testing.T) {
			d := newFixture(t)
			d.keep(t, 0, 600)
			table := d.rootPage(t, "message_1")
			var j *Journal
			if c.running {
				j = Open(d.Options)
				j.Add(sample(600))
				until(t, "it runs", func() bool { return d.count(t) == 601 })
			}
			if err := c.harm(d.Path, table); err != nil {
				t.Fatal(err)
			}
			if !c.running {
				j = Open(d.Options)
			}
			last := 601
			until(t, "a new one is created", func() bool {
				j.Add(sample(last))
				last++
				return strings.Contains(d.log.String(), "the journal is damaged; it is renamed and a new one is created")
			})
			j.Add(sample(last))
			j.Close()
			if kept, lost := d.count(t), int(d.lost.Load()); kept == 0 || kept+lost != last-600 {
				t.Errorf("%d kept, %d lost of %d\n%s", kept, lost, last-600, d.log)
			}
			if found, err := d.read(t).Find(t.Context(), sample(last).Evidence.MessageID); err != nil || len(found) != 1 {
				t.Errorf("the newest: %d, %v", len(found), err)
			}
			if said := strings.Contains(d.log.String(), "messages are missing from the journal; mail was not affected"); said != (d.lost.Load() > 0) {
				t.Errorf("the log: %s", d.log)
			}
			if _, err := os.Stat(d.Path + ".broken"); err != nil {
				t.Error(err)
			}
		})
	}
}

// If the directory cannot be written, messages are lost and this is logged. When it becomes writable, the journal recovers without a
// restart.
func TestNoDirectory(t *testing.T) {
	d := newFixture(t)
	dir := filepath.Dir(d.Path)
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	j := Open(d.Options)
	j.Add(sample(1))
	until(t, "the lost message is counted", func() bool { return d.lost.Load() == 1 })
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	d.ahead.Add(int64(retryInterval))
	j.Add(sample(2))
	j.Close()
	if n := d.count(t); n != 1 || d.lost.Load() != 1 {
		t.Errorf("%d kept, %d lost", n, d.lost.Load())
	}
	for _, want := range []string{"the journal cannot be written; mail continues without it", "doing=opening", "messages are missing from the journal; mail was not affected", "messages=1"} {
		if !strings.Contains(d.log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, d.log)
		}
	}
}

const killedVar, smallVar = "SIGNPOST_TEST_JOURNAL", "SIGNPOST_TEST_JOURNAL_SMALL"

// smallJournal is a max_size at which chunks are dropped after some thousand messages.
const smallJournal = 14 << 20

// After kill -9 under load, the journal is intact, and the next start logs that its last messages may be missing. With little load chunks
// are indexed, too, and in a small journal they are dropped.
func TestKilled(t *testing.T) {
	if path := os.Getenv(killedVar); path != "" {
		d := newFixture(t)
		d.Path = path
		d.chunk = 700
		most := queueMessages
		if os.Getenv(smallVar) != "" {
			d.MaxSize, d.chunk, most = smallJournal, 50, queueMessages/8
		}
		j := d.open()
		for i := 0; ; i++ {
			for len(j.queue) >= most {
				time.Sleep(time.Millisecond)
			}
			j.Add(sample(i))
		}
	}
	for name, small := range map[string]string{"under load": "", "small": "1"} {
		t.Run(name, func(t *testing.T) {
			d := newFixture(t)
			for range 3 {
				cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
				cmd.Env = append(os.Environ(), killedVar+"="+d.Path, smallVar+"="+small, "TMPDIR="+t.TempDir()) // a killed test does not delete its directories
				cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				first := int64(0)
				until(t, "the daemon writes", func() bool {
					r, err := OpenReader(d.Path)
					if err != nil {
						return false
					}
					defer r.Close()
					ids, err := r.IDs(t.Context(), Filter{After: first}, 100_000, true)
					if first == 0 && len(ids) > 0 {
						first = ids[0]
					}
					return err == nil && len(ids) > 600
				})
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}
			before := d.count(t)
			d.keep(t, 0, 10)
			if n := d.count(t); n != before+10 || d.lost.Load() != 0 {
				t.Errorf("%d before, %d after 10 more", before, n)
			}
			var sound string
			if err := d.read(t).db.QueryRow("PRAGMA integrity_check").Scan(&sound); err != nil || sound != "ok" {
				t.Errorf("%v %s", err, sound)
			}
			if !strings.Contains(d.log.String(), "the journal was not closed cleanly; its last messages may be missing") {
				t.Errorf("the log: %s", d.log)
			}
		})
	}
}

// Messages older than journal.keep are deleted, with their answers and their counts by hour.
func TestExpired(t *testing.T) {
	d := newFixture(t)
	d.keep(t, 0, 1100)
	d.ahead.Store(int64(15 * 24 * time.Hour))
	j := Open(d.Options)
	j.Add(sample(7777))
	j.Close()
	db, err := create(t.Context(), d.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.expire(t.Context(), d.Now().Add(-d.Keep)); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]int{"message_2": 1, "chunk": 1, "answer": 2, "hour": 1} {
		var n int
		if err := db.db.QueryRow("SELECT count(*) FROM " + table).Scan(&n); err != nil || n > want || n == 0 {
			t.Errorf("%s: %d rows, %v", table, n, err)
		}
	}
	db.close()
	if fi, err := os.Stat(d.Path); err != nil || fi.Size() > 1100<<10 {
		t.Errorf("the free pages are not returned to the file system: %v %v", fi.Size(), err)
	}
}

// If many messages are too old, the journal deletes them in steps, so that new messages can be written in between. At the end, the space is
// returned to the file system.
func TestExpiredBitByBit(t *testing.T) {
	d := newFixture(t)
	d.chunk = 200
	d.keep(t, 0, 2*deleteSteps*d.chunk+100)
	db, err := create(t.Context(), d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.close()
	before := time.Now().Add(time.Hour)
	for _, left := range []int{deleteSteps*d.chunk + 100, 100} {
		if err := db.expire(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		if n := d.count(t); n != left || !db.behind {
			t.Errorf("%d are left, want %d; more to be deleted: %v", n, left, db.behind)
		}
	}
	for db.behind {
		if err := db.expire(t.Context(), before); err != nil {
			t.Fatal(err)
		}
	}
	var free int
	if err := db.db.QueryRow("PRAGMA freelist_count").Scan(&free); err != nil || free >= vacuumPages {
		t.Errorf("%d pages are free: %v", free, err)
	}
	if n := d.count(t); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// If max_size was made much smaller, the journal shrinks in steps, too.
func TestBoundBitByBit(t *testing.T) {
	d := newFixture(t)
	d.chunk = 200
	const all = 4000
	d.keep(t, 0, all)
	db, err := create(t.Context(), d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.close()
	before, err := used(t.Context(), db.db)
	if err != nil {
		t.Fatal(err)
	}
	most := (before/4 + walRoom) / (spareShare - 1) * spareShare
	left, leftAnswers := all, 1<<30
	for {
		if err := db.bound(t.Context(), most, deleteSteps); err != nil {
			t.Fatal(err)
		}
		if !db.over {
			break
		}
		var answers int
		if err := db.db.QueryRow("SELECT count(*) FROM answer").Scan(&answers); err != nil {
			t.Fatal(err)
		}
		messages := d.count(t)
		if messages == 0 || left-messages > deleteSteps*d.chunk || messages == left && answers >= leftAnswers {
			t.Fatalf("%d messages and %d answers are left of %d and %d", messages, answers, left, leftAnswers)
		}
		left, leftAnswers = messages, answers
	}
	if is, err := used(t.Context(), db.db); err != nil || is > before/4+before/100 {
		t.Errorf("%d bytes are used, at most %d: %v", is, before/4, err)
	}
}

// A long read transaction blocks the WAL checkpoint. At max_size, further messages are lost, counted and logged. When the transaction has
// ended, the journal continues.
func TestHeld(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 16 MiB, and waits until the journal continues")
	}
	d := newFixture(t)
	d.MaxSize = 16 << 20
	d.keep(t, 0, 10)
	r := d.read(t)
	rows, err := r.db.Query("SELECT id FROM message_1")
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	j := Open(d.Options)
	for i := range 4000 {
		until(t, "there is room", func() bool { return j.queued.Load() < queueBytes/2 })
		j.Add(bulky(i))
	}
	until(t, "a message is lost", func() bool { return d.lost.Load() > 0 })
	var all int64
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if fi, err := os.Stat(d.Path + suffix); err == nil {
			all += fi.Size()
		}
	}
	if all > d.MaxSize+batchBytes {
		t.Errorf("%d bytes, at most %d", all, d.MaxSize)
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "after the end of the reader, the journal continues", func() bool {
		d.ahead.Add(int64(retryInterval)) // an earlier batch may still fail, and the journal then waits for retryInterval again
		j.Add(sample(7777))
		found, err := r.Find(t.Context(), sample(7777).Evidence.MessageID)
		return err == nil && len(found) > 0
	})
	j.Close()
	if !strings.Contains(d.log.String(), errHeld.Error()) {
		t.Errorf("the log: %s", d.log)
	}
}
