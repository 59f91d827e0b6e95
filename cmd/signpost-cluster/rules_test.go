package main

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signpost/internal/cluster"
)

func rule(domain, comment string) string {
	return "# about " + domain + "\n[[deny]]\ndomain = \"" + domain + "\"\ncomment = \"" + comment + "\"\nexpires = 2099-01-01\n"
}

func deny(domain string) cluster.RuleID {
	return cluster.RuleID{Kind: "deny", Name: "domain=" + domain}
}

// Rules of other hosts get into the file, below those that it has, with their comments. A conflict is logged once. A broken file changes
// nothing. Rules that only a later version can read stay in the database, and do not get into the file.
func TestMergeShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.toml")
	var log strings.Builder
	merge := mergeShared(path, slog.New(slog.NewTextHandler(&log, nil)))
	type rules = map[cluster.RuleID]string
	put := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(name string, base, database, want rules, file ...string) {
		t.Helper()
		got, err := merge(base, database)
		if err != nil || !maps.Equal(got, want) {
			t.Fatalf("%s: %q, %v", name, got, err)
		}
		text, _ := os.ReadFile(path)
		at := 0
		for _, part := range file {
			i := strings.Index(string(text)[at:], part)
			if i < 0 {
				t.Fatalf("%s: %q is not in the file, or not in this order:\n%s", name, part, text)
			}
			at += i
		}
		if n := strings.Count(string(text), "\n[[deny]]\n"); n != len(file) && len(file) > 0 {
			t.Errorf("%s: the file has %d entries:\n%s", name, n, text)
		}
	}
	a, b, c := rule("a.example", "x"), rule("b.example", "x"), rule("c.example", "x")
	check("no rules", rules{}, rules{}, rules{})
	if _, err := os.Stat(path); err == nil {
		t.Error("an empty file was created")
	}
	check("from the database", rules{}, rules{deny("b.example"): b}, rules{deny("b.example"): b}, b)
	put(c + "\n" + b)
	check("added here and there", rules{deny("b.example"): b}, rules{deny("b.example"): b, deny("a.example"): a},
		rules{deny("a.example"): a, deny("b.example"): b, deny("c.example"): c}, c, b, a)
	put(rule("a.example", "mine"))
	other := rule("a.example", "theirs")
	check("conflict", rules{deny("a.example"): a}, rules{deny("a.example"): other}, rules{deny("a.example"): other}, other)
	if n := strings.Count(log.String(), "rule changed on two hosts, the database wins"); n != 1 {
		t.Errorf("%d log lines\n%s", n, &log)
	}
	foreign := "[[deny]]\ndomain = \"z.example\"\nasn = 64496\ncomment = \"x\"\nexpires = 2099-01-01\n"
	for _, base := range []rules{{}, {deny("z.example"): foreign, deny("a.example"): other}} {
		check("a later version", base, rules{deny("z.example"): foreign, deny("a.example"): other}, rules{deny("z.example"): foreign, deny("a.example"): other}, other)
	}
	put("[[deny]]\n")
	if _, err := merge(rules{}, rules{deny("b.example"): b}); err == nil || !strings.Contains(err.Error(), "rules.toml:1: deny[1]") {
		t.Error(err)
	}
	put("")
	check("an emptied file", rules{deny("a.example"): a}, rules{deny("a.example"): a}, rules{deny("a.example"): a}, a)
}
