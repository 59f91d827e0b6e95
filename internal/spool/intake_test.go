package spool

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"signpost/internal/durable"
)

// small are limits that a test reaches.
func small() Limits { return Limits{Message: Head + 100, Total: 3 * (Head + 100), Files: 10, Open: 2} }

// left returns the names in the directory of the spool.
func left(t *testing.T, d Dir) (names []string) {
	t.Helper()
	all, err := os.ReadDir(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

// A message is in the spool only after Commit. Its first line, which is known last, comes first.
func TestIntake(t *testing.T) {
	dir := Dir{t.TempDir(), small()}
	d, err := NewIntake(dir).Create()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"Subject: x\r\n", "\r\n", "text\r\n"} {
		if _, err := d.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	const want = "Subject: x\r\n\r\ntext\r\n"
	for range 2 {
		if err := d.Read(func(r io.Reader) {
			if got, err := io.ReadAll(r); err != nil || string(got) != want {
				t.Errorf("%q, %v", got, err)
			}
		}); err != nil {
			t.Error(err)
		}
		d.Arrived()
	}
	none := func(m []byte) error { t.Errorf("%q is in the spool already", m); return nil }
	if err := dir.Each(none); err != nil {
		t.Error(err)
	}
	if err := d.Commit([]byte(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	d.Abort()
	n := 0
	if err := dir.Each(func(m []byte) error {
		n++
		line, message, _ := bytes.Cut(m, []byte("\n"))
		if strings.TrimRight(string(line), " ") != `{"a":1}` || string(message) != want {
			t.Errorf("%q", m)
		}
		return nil
	}); err != nil || n != 1 {
		t.Errorf("%d messages, %v", n, err)
	}
}

// Messages of a flood exceed neither the number of open files nor the size of the spool. Nothing of an aborted message is left.
func TestIntakeBounds(t *testing.T) {
	dir := Dir{t.TempDir(), small()}
	in := NewIntake(dir)
	create := func(want error) *Draft {
		t.Helper()
		d, err := in.Create()
		if !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
		return d
	}
	a, b := create(nil), create(nil)
	create(ErrBusy)
	if _, err := a.Write(make([]byte, 101)); !errors.Is(err, ErrLarge) {
		t.Errorf("a large message: %v", err)
	}
	if err := a.Commit(nil); !errors.Is(err, ErrLarge) {
		t.Errorf("a large message: %v", err)
	}
	b.Abort()
	if names := left(t, dir); len(names) > 0 {
		t.Errorf("left: %q", names)
	}
	for range 2 {
		d := create(nil)
		if _, err := d.Write(make([]byte, 100)); err != nil {
			t.Error(err)
		}
		if err := d.Commit(nil); err != nil {
			t.Error(err)
		}
	}
	c := create(nil)
	create(ErrFull)
	c.Abort()
	if _, err := c.Write(nil); err == nil {
		t.Error("an aborted message is written")
	}
	create(nil).Abort()
}

// Under a flood, the directory is not listed for each message, and the limits hold nevertheless. Room that a reader makes is found a little later.
func TestFlood(t *testing.T) {
	limits := small()
	limits.Total, limits.Open = 1<<30, 1<<20
	dir := Dir{t.TempDir(), limits}
	in := NewIntake(dir)
	var began, full atomic.Int32
	var flood sync.WaitGroup
	for range 1000 {
		flood.Go(func() {
			switch d, err := in.Create(); {
			case errors.Is(err, ErrFull):
				full.Add(1)
			case err != nil:
				t.Error(err)
			default:
				began.Add(1)
				if err := d.Commit(nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	flood.Wait()
	if n := len(left(t, dir)); n != limits.Files || int(began.Load()) != n || int(full.Load()) != 1000-n {
		t.Errorf("%d files, %d messages began, %d did not; want %d files", n, began.Load(), full.Load(), limits.Files)
	}
	if err := dir.Each(func([]byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		d, err := in.Create()
		if err == nil {
			d.Abort()
			break
		}
		if !errors.Is(err, ErrFull) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// A message that has arrived, and that waits for DNS, does not keep others from being written. It counts with its size.
func TestWaitingMessages(t *testing.T) {
	limits := small()
	limits.Open, limits.Message, limits.Total = 1, Head+1000, 2*Head+1000+10*(Head+3)
	dir := Dir{t.TempDir(), limits}
	in := NewIntake(dir)
	var all []*Draft
	for range 9 {
		d, err := in.Create()
		if err != nil {
			t.Fatalf("message %d: %v", len(all)+1, err)
		}
		if _, err := in.Create(); !errors.Is(err, ErrBusy) {
			t.Errorf("%v", err)
		}
		if _, err := d.Write([]byte("abc")); err != nil {
			t.Fatal(err)
		}
		d.Arrived()
		all = append(all, d)
	}
	if _, err := all[0].Write([]byte("d")); err == nil {
		t.Error("a message is written after it arrived")
	}
	all[0].Abort()
	for _, d := range all[1:] {
		if err := d.Commit(nil); err != nil {
			t.Error(err)
		}
	}
	if names := left(t, dir); len(names) != len(all)-1 {
		t.Errorf("left: %q", names)
	}
	if in.open != 0 || in.waiting != 0 {
		t.Errorf("%d open, %d bytes waiting", in.open, in.waiting)
	}
}

// An abort, which may come from the goroutine that ends the message, and a write may happen at the same time.
func TestAbortDuringWrite(t *testing.T) {
	limits := small()
	limits.Files, limits.Total = 100, 1<<20
	dir := Dir{t.TempDir(), limits}
	in := NewIntake(dir)
	for range 50 {
		d, err := in.Create()
		if err != nil {
			t.Fatal(err)
		}
		var done sync.WaitGroup
		done.Go(d.Abort)
		_, _ = d.Write([]byte("x"))
		_ = d.Commit(nil)
		done.Wait()
		if err := dir.Each(func([]byte) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if names := left(t, dir); len(names) > 0 {
		t.Errorf("left: %q", names)
	}
}

// The temporary files of a killed daemon are deleted, but not those that are being written.
func TestAbandoned(t *testing.T) {
	dir := Dir{t.TempDir(), small()}
	old, recent := filepath.Join(dir.Path, durable.Temp("a.eml")), filepath.Join(dir.Path, durable.Temp("b.eml"))
	for _, path := range []string{old, recent} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	for path, at := range map[string]time.Time{old: now.Add(-2 * abandoned), recent: now} {
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	d, err := NewIntake(dir).Create()
	if err != nil {
		t.Fatal(err)
	}
	d.Abort()
	if names := left(t, dir); len(names) != 1 || names[0] != filepath.Base(recent) {
		t.Errorf("left: %q", names)
	}
}
