package spool

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// A message stays in the spool until its reader has returned without an error.
func TestEach(t *testing.T) {
	d := Dir{t.TempDir(), Bounces()}
	for i := range 3 {
		if err := d.Add([]byte(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	stop := errors.New("stop")
	var got string
	err := d.Each(func(m []byte) error {
		if string(m) == "1" {
			return stop
		}
		got += string(m)
		return nil
	})
	if got != "0" || !errors.Is(err, stop) {
		t.Errorf("read %q, %v before the error", got, err)
	}
	if err := d.Each(func(m []byte) error { got += string(m); return nil }); err != nil || got != "012" {
		t.Errorf("read %q, %v", got, err)
	}
	if left, err := os.ReadDir(d.Path); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A flood of forged bounces fills neither the disk nor the memory.
func TestBounds(t *testing.T) {
	d := Dir{t.TempDir(), Bounces()}
	if err := d.Add(bytes.Repeat([]byte("x"), MaxBounce+1)); !errors.Is(err, ErrLarge) {
		t.Errorf("a large message: %v", err)
	}
	for i := range d.Files {
		if err := os.WriteFile(filepath.Join(d.Path, strconv.Itoa(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Add([]byte("x")); !errors.Is(err, ErrFull) {
		t.Errorf("a message over the limit: %v", err)
	}
}

func TestNoDirectory(t *testing.T) {
	if err := (Dir{Path: filepath.Join(t.TempDir(), "absent")}).Each(nil); err != nil {
		t.Error(err)
	}
}
