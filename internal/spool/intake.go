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
	dir  Dir
	mu   sync.Mutex
	open int // drafts
}

// NewIntake returns an Intake. Only one Intake of a directory may be in use.
func NewIntake(dir Dir) *Intake { return &Intake{dir: dir} }

// Create starts a message. The caller calls Commit or Abort. The error is ErrBusy or ErrFull if a limit is reached. Each message that is
// being written counts with the maximum size.
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
	if err := i.dir.fits(root, int64(i.open+1)*i.dir.Message); err != nil {
		root.Close()
		return nil, err
	}
	d := &Draft{intake: i, root: root, name: newName(), left: i.dir.Message - Head}
	d.temp = durable.Temp(d.name)
	if d.file, err = root.OpenFile(d.temp, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err != nil {
		root.Close()
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

	mu   sync.Mutex
	root *os.Root // nil: the draft has ended
	file *os.File
	left int64 // bytes that may still be written
	err  error // of the first write that failed
}

// errEnded is the error of a draft after Commit or Abort.
var errEnded = errors.New("the message is not being written any more")

// Write adds the next part of the message. The error is ErrLarge if the message is too large. After an error, each call returns this error.
func (d *Draft) Write(p []byte) (n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.err != nil:
	case d.root == nil:
		d.err = errEnded
	case int64(len(p)) > d.left:
		d.err = ErrLarge
	default:
		n, d.err = d.file.Write(p)
		d.left -= int64(n)
	}
	return n, d.err
}

// Contents returns the message so far, without the first line. It is valid until Commit or Abort.
func (d *Draft) Contents() io.Reader {
	return io.NewSectionReader(d.file, Head, d.intake.dir.Message)
}

// Commit writes the first line of the file, and makes the file durable. The line must be shorter than Head. After an error of Write, Commit
// returns this error. After any error, the draft is aborted.
func (d *Draft) Commit(line []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.err
	if d.root == nil {
		return errEnded
	}
	if err == nil && len(line) >= Head {
		err = ErrLarge
	}
	if err == nil {
		_, err = d.file.WriteAt([]byte(string(line)+strings.Repeat(" ", Head-1-len(line))+"\n"), 0)
	}
	if err == nil {
		err = d.file.Sync()
	}
	if err == nil {
		err = d.root.Rename(d.temp, d.name)
	}
	if err != nil {
		d.end(true)
		return err
	}
	err = durable.Sync(d.root)
	d.end(false)
	return err
}

// Abort deletes the draft. It has no effect after Commit.
func (d *Draft) Abort() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end(true)
}

// end closes the files once, and deletes the draft if remove is true.
func (d *Draft) end(remove bool) {
	if d.root == nil {
		return
	}
	d.file.Close()
	if remove {
		_ = d.root.Remove(d.temp)
	}
	d.root.Close()
	d.root = nil
	d.intake.mu.Lock()
	d.intake.open--
	d.intake.mu.Unlock()
}
