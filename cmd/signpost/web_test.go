package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"signpost/internal/doctor"
)

// The web page runs doctor in another process and gets its findings, even if a finding is red. If doctor cannot run, the page gets the
// error.
func TestDoctorApart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "signpost.toml")
	put(t, file, "state_dir = \"/nonexistent\"\n[dns]\nservers = [\"127.0.0.1:1\"]\n")
	found, err := runDoctor(t.Context(), "signpost", file)
	if err != nil || !slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Level == doctor.Red && f.Why != "" && f.Fix != "" }) {
		t.Errorf("%+v %v", found, err)
	}
	if _, err := runDoctor(t.Context(), "signpost", file+"\x00"); err == nil {
		t.Error("no error where it cannot run")
	}
	put(t, file, "state_dir = 1\n")
	if found, err := runDoctor(t.Context(), "signpost", file); err != nil || !strings.Contains(found[0].Where+found[0].What, "signpost.toml") {
		t.Errorf("a faulty configuration: %+v %v", found, err)
	}
}
