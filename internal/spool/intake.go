package spool

import (
	"crypto/rand"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"signpost/internal/durable"
)

// Head is the size in bytes of the first line of a message of an Intake. The line is filled up with spaces.
const Head = 2 << 10

// Intake writes messages into a spool as they arrive, from many goroutines. No message is kept in memory.
type Intake struct {
	dir Dir

	mu      sync.Mutex
	open    int   // drafts that are being written
	waiting int64 // bytes of the drafts that have arrived
}

// NewIntake returns an Intake. Only one Intake of a directory may be in use.
func NewIntake(dir Dir) *Intake { return &Intake{dir: dir} }

// Create starts a message. The caller calls Commit or Abort. The error is ErrBusy or ErrFull if a limit is reached. A message that is being
// written counts with the maximum size.
func (i *Intake) Create() (*Draft, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.open >= i.dir.Open {
		return nil, ErrBusy
	}
	root, err := durable.OpenDir(i.dir.Path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := i.dir.fits(root, int64(i.open+1)*i.dir.Message+i.waiting); err != nil {
		return nil, err
	}
	d := &Draft{intake: i, name: newName(), size: Head}
	d.temp = durable.Temp(d.name)
	if d.file, err = root.OpenFile(d.temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	_, d.err = d.file.Seek(Head, io.SeekStart)
	i.open++
	return d, nil
}

// newName returns the name of a message. The names are in the order of their times.
func newName() string {
	return time.Now().UTC().Format("20060102T150405.000000") + "-" + rand.Text()[:8] + suffix
}

// Draft is a message that is being written. Its methods may be called from several goroutines.
type Draft struct {
	intake     *Intake
	name, temp string

	mu    sync.Mutex
	file  *os.File // nil: the message has arrived
	size  int64    // bytes of the file
	ended bool     // after Commit or Abort
	err   error    // of the first write that failed
}

// errEnded is the error of a draft that is not being written any more.
var errEnded = errors.New("the message is not being written any more")

// Write adds the next part of the message. The error is ErrLarge if the message is too large. After an error, each call returns this error.
func (d *Draft) Write(p []byte) (n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.err != nil:
	case d.file == nil:
		d.err = errEnded
	case d.size+int64(len(p)) > d.intake.dir.Message:
		d.err = ErrLarge
	default:
		n, d.err = d.file.Write(p)
		d.size += int64(n)
	}
	return n, d.err
}

// Arrived closes the file, so that others can be written. The message then counts with its size. Call it before a wait.
func (d *Draft) Arrived() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.close()
}

// close closes the file, once. The caller holds mu.
func (d *Draft) close() {
	if d.file == nil {
		return
	}
	if err := d.file.Close(); d.err == nil {
		d.err = err
	}
	d.file = nil
	d.intake.mu.Lock()
	d.intake.open--
	d.intake.waiting += d.size
	d.intake.mu.Unlock()
}

// Read calls read with the message so far, without the first line.
func (d *Draft) Read(read func(io.Reader)) error {
	return d.intake.in(func(root *os.Root) error {
		f, err := root.Open(d.temp)
		if err != nil {
			return err
		}
		defer f.Close()
		read(io.NewSectionReader(f, Head, d.intake.dir.Message))
		return nil
	})
}

// in calls do with the directory.
func (i *Intake) in(do func(root *os.Root) error) error {
	root, err := durable.OpenDir(i.dir.Path)
	if err != nil {
		return err
	}
	defer root.Close()
	return do(root)
}

// Commit writes the first line of the file, and makes the file durable. The line must be shorter than Head. After an error of Write, Commit
// returns this error. After any error, the draft is aborted.
func (d *Draft) Commit(line []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return errEnded
	}
	d.close()
	err := d.err
	if err == nil && len(line) >= Head {
		err = ErrLarge
	}
	if err == nil {
		err = d.intake.in(func(root *os.Root) error { return d.finish(root, line) })
	}
	d.end(err != nil)
	return err
}

// finish writes the first line and renames the file.
func (d *Draft) finish(root *os.Root, line []byte) error {
	f, err := root.OpenFile(d.temp, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(string(line)+strings.Repeat(" ", Head-1-len(line))+"\n"), 0)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := root.Rename(d.temp, d.name); err != nil {
		return err
	}
	return durable.Sync(root)
}

// Abort deletes the draft. It has no effect after Commit.
func (d *Draft) Abort() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end(true)
}

// end ends the draft, once, and deletes it if remove is true. The caller holds mu.
func (d *Draft) end(remove bool) {
	if d.ended {
		return
	}
	d.ended = true
	d.close()
	if remove {
		_ = d.intake.in(func(root *os.Root) error { return root.Remove(d.temp) })
	}
	d.intake.mu.Lock()
	d.intake.waiting -= d.size
	d.intake.mu.Unlock()
}
