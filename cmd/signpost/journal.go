package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"signpost/internal/config"
	"signpost/internal/journal"
	"signpost/internal/owner"
)

// readJournal opens the daemon's journal for a command. SQLite opens and creates files by their paths, and the owner of their directory
// could plant links there. So if root runs the command, the process acts as that owner from here on. A command that must be root
// afterwards calls owner.Act itself first, and calls the function that it returned after the journal is closed.
func readJournal(conf *config.Config) (*journal.Reader, error) {
	root := os.Getuid() == 0
	if _, err := owner.Act(conf.JournalFile()); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(conf.JournalFile(), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		if root {
			err = fmt.Errorf("%w: root reads the journal as the owner of its directory", err)
		}
		return nil, err
	}
	if err == nil {
		fi, err := f.Stat()
		f.Close()
		if err != nil || !fi.Mode().IsRegular() {
			return nil, errors.Join(err, fmt.Errorf("%s: is not a regular file", conf.JournalFile()))
		}
	}
	r, err := journal.OpenReader(conf.JournalFile())
	if errors.Is(err, journal.ErrNone) && !conf.Journal.Enabled {
		err = fmt.Errorf("%w; journal.enabled = false: the daemon writes none", err)
	}
	return r, err
}
