package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/report/seen"
	"signpost/keys"
)

// A key that signs and fails at a trusted reporter raises an alarm, which check shows. The failures of a revoked key are expected, and a selector
// that is not ours is not kept. reports read changes no file of the keys.
func TestSelectorFails(t *testing.T) {
	a := readArchive(t)
	at := time.Now().UTC().AddDate(0, 0, -10)
	for name, m := range map[string]keys.Metadata{"s1": {}, "old": {Retired: &at, Revoked: &at}} {
		m.Domain, m.Selector, m.Algorithm, m.Bits, m.Record, m.Publish = "example.org", name, "rsa", 2048, "v=DKIM1; p=", "manual"
		m.Created, m.Published, m.Seen, m.Activated = at, &at, &at, &at
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(a.dir, "keys", "example.org"), 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(a.dir, "keys", "example.org", name+".json"), string(text))
	}
	before := files(t, filepath.Join(a.dir, "keys"))
	dkim := ""
	for _, selector := range []string{"s1", "old", "made-up"} {
		dkim += fmt.Sprintf("<dkim><domain>example.org</domain><selector>%s</selector><result>fail</result></dkim>", selector)
	}
	a.arrives(1, "reporter.test", strings.Replace(aggregate("1", "192.0.2.1"), "<auth_results>", "<auth_results>"+dkim, 1))
	code, _, stderr := a.run("reports", "read")
	if code != 0 || strings.Count(stderr, "code=selector_fails") != 1 || !strings.Contains(stderr, "code=selector_fails domain=example.org selector=s1 reporters=reporter.test messages=200 total=200") {
		t.Errorf("%d %s", code, stderr)
	}
	f, err := seen.Load(a.dir, time.Now())
	if err != nil || len(f.Selectors) != 2 || f.Of("example.org", "old") == nil || f.Of("example.org", "s1").Failed != 200 {
		t.Errorf("%+v %v", f, err)
	}
	if after := files(t, filepath.Join(a.dir, "keys")); after != before {
		t.Errorf("the keys changed from\n%s\nto\n%s", before, after)
	}
	if _, out, _ := a.run("check"); !strings.Contains(out, "example.org") || !strings.Contains(out, "s1") || !strings.Contains(out, "report_alarms=1") {
		t.Errorf("check: %s", out)
	}
}

// files returns the names and contents of all files in a directory.
func files(t *testing.T, dir string) (all string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all += path + "\n" + string(text) + "\n"
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
