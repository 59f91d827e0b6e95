package soak

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"signpost/internal/soak/judge"
)

// diskFaults disturb the files of a host.
func diskFaults() []disturbance {
	return []disturbance{
		{"move the keys away", 0, 0, false, func(_ *world, h *host, random *rand.Rand) error {
			dir := filepath.Join(h.state(), "keys")
			if err := os.Rename(dir, dir+".away"); err != nil {
				return err
			}
			short(random, 4)
			// signpost-cluster may have made the directory again.
			return errors.Join(os.RemoveAll(dir), os.Rename(dir+".away", dir))
		}},
		{"fill the disk of state, journal and spool", judge.Unwritten | judge.Unkept, 5 * time.Second, false, func(_ *world, h *host, random *rand.Rand) error {
			empty, err := fill(filepath.Join(h.state(), "filler"))
			if err != nil {
				return err
			}
			short(random, 5)
			return empty()
		}},
		{"restart the programs on a full disk", judge.Tempfail | judge.Delay | judge.Unwritten | judge.Unkept, 5 * time.Second, false, func(_ *world, h *host, random *rand.Rand) error {
			return h.startWith(random, func() (func() error, error) { return fill(filepath.Join(h.state(), "filler")) })
		}},
		{"restart the programs on a read-only disk", judge.Tempfail | judge.Delay | judge.Unwritten | judge.Unkept, 5 * time.Second, false, func(_ *world, h *host, random *rand.Rand) error {
			return h.startWith(random, func() (func() error, error) {
				remount := func(flags uintptr) error {
					if err := unix.Mount("", h.state(), "", unix.MS_REMOUNT|flags, "size=512m,mode=0700"); err != nil {
						return fmt.Errorf("mounting %s: %w", h.state(), err)
					}
					return nil
				}
				var err error
				for limit := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) { // a job may be writing
					if err = remount(unix.MS_RDONLY); err == nil || !errors.Is(err, unix.EBUSY) || time.Now().After(limit) {
						break
					}
				}
				return func() error { return remount(0) }, err
			})
		}},
	}
}

// startWith stops the programs that write to the state, breaks the disk, starts the programs, and repairs the disk after some seconds.
func (h *host) startWith(random *rand.Rand, spoil func() (repair func() error, err error)) error {
	programs := []*process{h.cluster, h.daemon}
	for _, p := range programs {
		if err := p.end(syscall.SIGTERM); err != nil {
			return err
		}
	}
	repair, err := spoil()
	if err != nil {
		return err
	}
	for _, p := range programs {
		if err := p.start(); err != nil {
			return errors.Join(fmt.Errorf("on a broken disk: %w", err), repair())
		}
	}
	short(random, 5)
	return repair()
}

// fill writes a file until the disk is full. The returned function deletes it.
func fill(name string) (empty func() error, err error) {
	file, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	for err == nil {
		_, err = file.Write(make([]byte, 1<<16))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return nil, errors.Join(err, file.Close())
	}
	return func() error { return errors.Join(file.Close(), os.Remove(name)) }, nil
}
