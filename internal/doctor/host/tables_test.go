package host_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signpost/internal/doctor"
	"signpost/internal/doctor/host"
)

// A table that does not answer is red, with the command that makes its file readable if only other users may read it. A listed domain
// without a key is yellow.
func TestTables(t *testing.T) {
	file := filepath.Join(t.TempDir(), "domains.cf")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	down := map[string]string{"mysql:" + file: "open: Permission denied", "pgsql:/nowhere/x.cf": "the table server is not running"}
	facts := host.Facts{Tables: host.Tables{Names: []string{"mysql:" + file, "pgsql:/nowhere/x.cf", "static:yes"}, Unkeyed: []string{"a.example"},
		Ask: func(_ context.Context, table string) error {
			if why := down[table]; why != "" {
				return errors.New(why)
			}
			return nil
		}}}
	var got []string
	for _, c := range host.Checks(facts) {
		if c.Name != "tables" {
			continue
		}
		for _, f := range doctor.Run(t.Context(), []doctor.Check{c}) {
			got = append(got, string(f.Level)+"|"+f.What+"|"+f.Where+"|"+f.Fix)
		}
	}
	want := []string{
		"red|lookups in mysql:" + file + " fail|open: Permission denied|chgrp postfix '" + file + "' && chmod 0640 '" + file + "'",
		"red|lookups in pgsql:/nowhere/x.cf fail|the table server is not running|systemctl restart signpost-tables && signpost tables lookup 'pgsql:/nowhere/x.cf' example.org",
		"yellow|a.example is in a table of domains.tables, but has no key|journal: messages of the last 7 days with code listed_no_key|dkimkey add a.example",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
