// Package spool keeps messages in a directory until another process reads them. The daemon adds messages; signpost reports send reads and
// deletes them. The number and the size of the messages are bounded, because anyone can send mail to the daemon.
//
//	err := spool.Dir{Path: dir}.Add(message)
package spool

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"signpost/internal/durable"
)

// Bounds on a spool.
const (
	MaxMessage = 64 << 10 // bytes. A notification with only the header of a report has a few KiB
	maxFiles   = 2000     // more than the reports of a day that bounce within a few minutes
)

// Errors of Add.
var (
	ErrFull  = errors.New("the spool is full")
	ErrLarge = errors.New("the message is too large for the spool")
)

// suffix is that of a complete message. Temporary files have another one.
const suffix = ".eml"

// Dir is a spool in an existing directory.
type Dir struct{ Path string }

// Add writes a message durably. The error is ErrFull or ErrLarge if a limit is reached.
func (d Dir) Add(message []byte) error {
	if len(message) > MaxMessage {
		return ErrLarge
	}
	root, err := durable.OpenDir(d.Path)
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := os.ReadDir(d.Path)
	if err != nil {
		return err
	}
	if len(entries) >= maxFiles {
		return ErrFull
	}
	name := time.Now().UTC().Format("20060102T150405.000000") + "-" + rand.Text()[:8] + suffix
	return durable.Write(root, name, message, 0o600, func(*os.File) error { return nil })
}

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
		message, err := durable.Read(root, e.Name(), MaxMessage)
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
