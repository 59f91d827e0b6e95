package main

import (
	"syscall"
	"testing"

	"signpost/internal/cluster"
)

// If the disk becomes full while a site key is added, the file stays as it was. A part of a line would make the file unreadable.
func TestRekeyOnFullDisk(t *testing.T) {
	m := newMachine(t, "a", "mysql://a:b@127.0.0.1:1/signpost")
	m.put("key", cluster.NewSiteKey())
	before := m.get("key")
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	few := limit
	few.Cur = uint64(len(before)) + 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &few); err != nil {
		t.Fatal(err)
	}
	out := m.command(anyCode, "rekey")
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	contains(t, out, "file too large")
	if after := m.get("key"); after != before {
		t.Errorf("the file has %d bytes, had %d", len(after), len(before))
	}
}
