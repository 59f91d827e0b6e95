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
	"signpost/internal/setup"
)

// readJournal opens the daemon's journal for a command. If root runs the command, the process then acts as the owner of the journal's
// directory. A command that must be root afterwards calls owner.Act before this function. After it has closed the journal, it calls the
// function that owner.Act returned.
func readJournal(conf *config.Config) (*journal.Reader, error) {
	if err := actAsJournalOwner(conf); err != nil {
		return nil, err
	}
	r, err := journal.OpenReader(conf.JournalFile())
	if err != nil {
		return r, noJournal(conf, err)
	}
	shared, err := setup.HashKey(conf)
	if err != nil {
		r.Close()
		return nil, err
	}
	if shared != nil {
		r.Secrets = [][]byte{shared}
	}
	return r, nil
}

// noJournal completes the error about a missing journal if the configuration disables the journal.
func noJournal(conf *config.Config, err error) error {
	if errors.Is(err, journal.ErrNone) && !conf.Journal.Enabled {
		err = fmt.Errorf("%w; journal.enabled = false: the daemon writes no journal", err)
	}
	return err
}

// actAsJournalOwner makes a process of root act as the owner of the journal's directory. This is necessary because SQLite opens and creates
// files by their paths, and the owner can create symbolic links in the directory. It returns an error if the journal is not a regular file
// or may not be read.
func actAsJournalOwner(conf *config.Config) error {
	root := os.Getuid() == 0
	if _, err := owner.Act(conf.JournalFile()); err != nil {
		return err
	}
	f, err := os.OpenFile(conf.JournalFile(), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		if root {
			err = fmt.Errorf("%w: root reads the journal as the owner of its directory", err)
		}
		return err
	}
	if err == nil {
		fi, err := f.Stat()
		f.Close()
		if err != nil || !fi.Mode().IsRegular() {
			return errors.Join(err, fmt.Errorf("%s: is not a regular file", conf.JournalFile()))
		}
	}
	return nil
}
