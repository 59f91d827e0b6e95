// Package spool keeps messages in a directory until another process reads them. The daemon adds messages; signpost reports send and
// signpost reports read delete them. The number and the size of the messages are bounded, because anyone can send mail to the daemon.
//
//	err := spool.Dir{Path: dir, Limits: spool.Bounces()}.Add(message)
package spool

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"signpost/internal/durable"
)

// Limits bound a spool.
type Limits struct {
	Message int64 // bytes of a file
	Total   int64 // bytes of all files
	Files   int
	Open    int // messages that are being written at the same time; see Intake
}

// Bounces returns the limits of the spool of bounces of our reports. A notification with only the header of a report has a few KiB. 2000
// are more than the reports of a day that bounce within a few minutes.
func Bounces() Limits { return Limits{Message: MaxBounce, Total: 2000 * MaxBounce, Files: 2000} }

// MaxBounce is the maximum size in bytes of a file in the spool of bounces.
const MaxBounce = 64 << 10

// Reports returns the limits of the spool of reports that others sent. The largest real reports have a few MiB, and a large site gets a few
// hundred reports a day.
func Reports() Limits {
	return Limits{Message: MaxReport + Head, Total: 512 << 20, Files: 2000, Open: 32}
}

// MaxReport is the maximum size in bytes of a message that is kept as a report.
const MaxReport = 10 << 20

// Errors of Add, Intake.Create and Draft.
var (
	ErrFull  = errors.New("the spool is full")
	ErrBusy  = errors.New("too many messages are being written")
	ErrLarge = errors.New("the message is too large for the spool")
)

// suffix is that of a complete message. Temporary files have another one.
const suffix = ".eml"

// Dir is a spool in an existing directory.
type Dir struct {
	Path string
	Limits
}

// Add writes a message durably. The error is ErrFull or ErrLarge if a limit is reached.
func (d Dir) Add(message []byte) error {
	if int64(len(message)) > d.Message {
		return ErrLarge
	}
	root, err := durable.OpenDir(d.Path)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := d.fits(root, int64(len(message))); err != nil {
		return err
	}
	return durable.Write(root, newName(), message, 0o600, func(*os.File) error { return nil })
}

// fits returns ErrFull if the spool has no room for another file that has this number of bytes.
func (d Dir) fits(root *os.Root, more int64) error {
	entries, err := durable.List(root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		_, temporary := durable.TempOf(e.Name())
		switch {
		case !temporary:
			more += e.Size()
		case time.Since(e.ModTime()) > abandoned:
			_ = root.Remove(e.Name())
		}
	}
	if len(entries) >= d.Files || more > d.Total {
		return ErrFull
	}
	return nil
}

// abandoned is the age of a temporary file that a killed process left. A message is written in seconds.
const abandoned = time.Hour

// Each passes each message to read, oldest first, and deletes the message if read returns no error. It stops at the first error. A message
// that another process has deleted is skipped.
func (d Dir) Each(read func(message []byte) error) error {
	root, err := durable.OpenDir(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := durable.List(root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		message, err := durable.Read(root, e.Name(), d.Message)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return durable.PathError(filepath.Join(d.Path, e.Name()), err)
		}
		if err := read(message); err != nil {
			return err
		}
		if err := root.Remove(e.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return durable.PathError(filepath.Join(d.Path, e.Name()), err)
		}
	}
	return nil
}
