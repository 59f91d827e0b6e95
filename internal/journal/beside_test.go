package journal

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// has reports whether the journal has a message that can be read.
func (d *fixture) has() bool {
	r, err := OpenReader(d.Path)
	if err != nil {
		return false
	}
	defer r.Close()
	_, newest, err := r.Size(context.Background())
	return err == nil && newest.Unix() > 0
}

// If two daemons use one journal, the second writes nothing and logs an error. The second starts to write when the first has ended.
func TestTwice(t *testing.T) {
	d, other := newFixture(t), newFixture(t)
	other.Path = d.Path
	j := Open(d.Options)
	j.Add(sample(1))
	until(t, "the first daemon has written a message", d.has)
	k := Open(other.Options)
	k.Add(sample(2))
	until(t, "the second daemon has lost a message", func() bool { return other.lost.Load() == 1 })
	j.Add(sample(3))
	j.Close()
	other.ahead.Add(int64(retryInterval))
	k.Add(sample(4))
	k.Close()
	if n := d.count(t); n != 3 || d.lost.Load() != 0 || other.lost.Load() != 1 {
		t.Errorf("%d kept, %d and %d lost", n, d.lost.Load(), other.lost.Load())
	}
	if log := other.log.String(); !strings.Contains(log, errTaken.Error()) || strings.Contains(log, "not closed cleanly") {
		t.Errorf("the log: %s", log)
	}
}

// If the journal is deleted while the daemon runs, the daemon creates a new one. It does not continue to write the deleted file.
func TestDeleted(t *testing.T) {
	d := newFixture(t)
	j := Open(d.Options)
	j.Add(sample(1))
	until(t, "the journal has a message", d.has)
	if err := os.RemoveAll(filepath.Dir(d.Path)); err != nil {
		t.Fatal(err)
	}
	j.Add(sample(2))
	until(t, "the new journal has a message", d.has)
	j.Close()
	if n := d.count(t); n != 1 || !strings.Contains(d.log.String(), "the journal was deleted or replaced") {
		t.Errorf("%d kept\n%s", n, d.log)
	}
}

// Many readers read while the daemon writes. No reader is locked out, no message is lost, and each reader reads complete messages.
func TestReadersBeside(t *testing.T) {
	d := newFixture(t)
	j := Open(d.Options)
	j.Add(sample(0))
	until(t, "the journal has a message", d.has)
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for last := -1; ; {
				select {
				case <-stop:
					return
				default:
				}
				r, err := OpenReader(d.Path)
				if err != nil {
					t.Error(err)
					return
				}
				n := 0
				if err := r.Each(t.Context(), Filter{Outcome: Outcome.Failed}, func(*Entry) bool { n++; return true }); err != nil || n < last {
					t.Errorf("%d after %d: %v", n, last, err)
				}
				last = n
				r.Close()
			}
		})
	}
	for i := 1; i < 1000; i++ {
		j.Add(sample(i))
		until(t, "there is room", func() bool { return len(j.queue) < queueMessages/2 })
	}
	j.Close()
	close(stop)
	readers.Wait()
	if n := d.count(t); n != 1000 || d.lost.Load() != 0 || d.log.String() != "" {
		t.Errorf("%d kept, %d lost\n%s", n, d.lost.Load(), d.log)
	}
}

// Many connections add messages at the same time. Each message is stored with its texts.
func TestKeptConcurrently(t *testing.T) {
	d := newFixture(t)
	j := Open(d.Options)
	var connections sync.WaitGroup
	for c := range 8 {
		connections.Go(func() {
			for i := range 100 {
				j.Add(sample(c*100 + i))
			}
		})
	}
	connections.Wait()
	j.Close()
	n := 0
	err := d.read(t).Each(t.Context(), Filter{}, func(e *Entry) bool {
		if n++; len(e.Evidence.DKIM) > 0 && e.Evidence.DKIM[0].KeyRecord == forgotten {
			t.Errorf("%s lacks its key record", e.Evidence.QueueID)
		}
		return true
	})
	if n != 800 || d.lost.Load() > 0 || err != nil {
		t.Errorf("%d kept, %d lost: %v", n, d.lost.Load(), err)
	}
}

const writerVar = "SIGNPOST_TEST_JOURNAL_WRITER"

// nobody is an unprivileged user and group, like those of the daemon.
const nobody = 65534

// Root may read a journal while no daemon runs, even a journal that was not closed cleanly. The daemon's user can still write the journal
// afterwards. Other users cannot read any file of the journal.
func TestRootReads(t *testing.T) {
	if path := os.Getenv(writerVar); path != "" {
		d := newFixture(t)
		d.Path = path
		d.keep(t, 0, 10)
		if d.lost.Load() > 0 {
			t.Fatal(d.log)
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("files of another owner need root")
	}
	d := newFixture(t)
	dir := filepath.Dir(d.Path)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o755); err != nil { // the directory of the test, which user nobody must be able to search
		t.Fatal(err)
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	write := func() {
		t.Helper()
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestRootReads$")
		cmd.Env = append(os.Environ(), writerVar+"="+d.Path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	owned := func() (names []string) {
		t.Helper()
		all, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			fi, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			if s := fi.Sys().(*syscall.Stat_t); s.Uid != nobody || s.Gid != nobody || fi.Mode() != 0o600 {
				t.Errorf("%s: %d:%d %v", e.Name(), s.Uid, s.Gid, fi.Mode())
			}
			names = append(names, e.Name())
		}
		return names
	}
	write()
	r := d.read(t)
	if found, err := r.Find(t.Context(), sample(3).Evidence.QueueID); err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	if names := owned(); len(names) < 4 {
		t.Errorf("while root reads, the directory has only %q", names)
	}
	write() // while root reads
	r.Close()
	owned()
	write()
	if n := d.count(t); n != 30 {
		t.Errorf("%d messages, want 30", n)
	}
	owned()
}

// A call whose context has ended fails, changes nothing, and leaves the journal usable.
func TestContextEnds(t *testing.T) {
	d := newFixture(t)
	d.keep(t, 0, 3)
	db, err := create(t.Context(), d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.close()
	e := Entry{Time: d.Now(), Record: *sample(3)}
	r, err := pack(&e, newCodec(), db.stored, false)
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	reader := d.read(t)
	_, _, sizeErr := reader.Size(ended)
	_, idsErr := reader.IDs(ended, Filter{}, 10, false)
	_, insertErr := db.insert(ended, []*row{r})
	for name, err := range map[string]error{"insert": insertErr, "bound": db.bound(ended, 1, 1), "expire": db.expire(ended, d.Now().Add(time.Hour)),
		"sealNow": db.sealNow(ended), "createIndex": db.createIndex(ended, &chunk{id: 1}), "Size": sizeErr, "IDs": idsErr} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := d.count(t); n != 3 {
		t.Errorf("%d messages, want 3", n)
	}
	if _, err := db.insert(t.Context(), []*row{r}); err != nil || d.count(t) != 4 {
		t.Errorf("the next batch: %d messages, %v", d.count(t), err)
	}
}
