package main

import (
	"os"
	"path/filepath"
	"testing"

	"signpost/internal/testcli"
)

// Each usage error has a message without Go error text.
func TestWrongUsage(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{
		"c.toml": "state_dir = \"" + dir + "/state\"\n[dns]\nservers = [\"127.0.0.1:1\"]\ntimeout = \"50ms\"\nmessage_timeout = \"1s\"\n",
		"zone":   "", "mail": "Return-Path: <>\nReceived: from a (b [192.0.2.1])\n\tby c (Postfix) with ESMTP id 1; Fri, 27 Nov 2026 10:00:00 +0000 (UTC)\nFrom: ann@example.org\n\nHello\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mail := filepath.Join(dir, "mail")
	testcli.Walk(t, testcli.Program{
		Root: newRoot(), Run: run,
		Flags: map[string]string{"config": filepath.Join(dir, "c.toml"), "dns": filepath.Join(dir, "zone"), "listen": "127.0.0.1:0"},
		Arguments: map[string][]string{
			"verify": {mail}, "sign": {mail}, "explain": {"4fXyAb1Cd2z3"}, "spf": {"example.org", "192.0.2.1"}, "dmarc": {"example.org"},
			"doctor": {"example.org"}, "journal forget": {"ann@example.org"},
		},
		Broken:      []string{"serve"},
		Plugins:     []string{"check"},
		Interrupted: []string{"verify", "spf", "dmarc", "doctor"},
	})
}

// If FILE is a directory, the error names the directory once, without Go error text.
func TestDirectoryAsMessage(t *testing.T) {
	dir := t.TempDir()
	if _, err := openInput(dir, nil); err == nil || err.Error() != dir+" is a directory" {
		t.Error(err)
	}
}

// A permission error states which user must run the command.
func TestPermissionDenied(t *testing.T) {
	testcli.Denied(t, "signpost", 0o700, "log -c CONFIG", "log -f -c CONFIG", "explain x -c CONFIG", "what-if -c CONFIG", "forwarders -c CONFIG", "top -c CONFIG", "journal forget ann@example.org -c CONFIG",
		"web --listen 127.0.0.1:0 -c CONFIG", "sign /dev/null -c CONFIG", "test -c CONFIG", "serve -c CONFIG")
	testcli.Denied(t, "signpost", 0o755, "sign /dev/null -c CONFIG")
}
