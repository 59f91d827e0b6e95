package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The sample file is valid and has a comment about each domain.
func TestSample(t *testing.T) {
	const sample = "../../dist/greyskip.domains"
	text, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	all, _, err := parseDomains(sample, bytes.NewReader(text))
	if err != nil || len(all) < 30 {
		t.Errorf("%d domains, %v", len(all), err)
	}
	for line := range strings.Lines(string(text)) {
		if domain, comment, _ := strings.Cut(line, "#"); domain != "\n" && strings.TrimSpace(comment) == "" && domain != "" {
			t.Errorf("%q has no comment about the domain", line)
		}
	}
}

// A domains file has one domain per line. It may contain comments. An error contains the number of the invalid line.
func TestDomainsFile(t *testing.T) {
	for text, want := range map[string]string{
		"example.org\n":                                         "example.org",
		"\ufeffexample.org\n":                                   "example.org", // some editors write a byte order mark first
		" Example.ORG.\t# who\r\n#x.example\n\n":                "example.org",
		"bücher.example\nxn--bcher-kva.example\n":               "xn--bcher-kva.example",
		"b.example\na.example\nb.example":                       "b.example a.example",
		"a.example\n\na.example b.example\n":                    `f:3: "a.example b.example" is not a domain name; write one domain per line, and comments after #`,
		"a.example\nip4:37.0.0.0/24\n":                          `f:2: "ip4:37.0.0.0/24" is not`,
		"a.example\nlocalhost\n":                                `f:2: "localhost" is not`,
		"a.example\n37.0.0.1\n":                                 `f:2: "37.0.0.1" is not`,
		"a.example\nx\x1b[31m.example\n":                        `f:2: "x\x1b[31m.example" is not`,
		"a.example\nann@a.example # a person\n":                 `f:2: "ann@a.example" is not`,
		"# nothing\n":                                           "f: contains no domain",
		"a.example\n" + strings.Repeat("x", 1<<16) + ".example": "f:2: ",
	} {
		all, _, err := parseDomains("f", strings.NewReader(text))
		got := strings.Join(all, " ")
		if err != nil {
			got = err.Error()
		}
		if err == nil && got != want || err != nil && !strings.HasPrefix(got, want) {
			t.Errorf("%.40q: %.200s, want %s", text, got, want)
		}
	}
}

// scripts/greyskip-sample succeeds if each domain of the list publishes addresses. It fails, and names the line, if a domain has no SPF record or permits
// no address. Without DNS, it states that and succeeds.
func TestCheckOfTheSample(t *testing.T) {
	if testing.Short() {
		t.Skip("builds greyskip")
	}
	program := filepath.Join(t.TempDir(), "greyskip")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const zone = "one.example. TXT \"v=spf1 ip4:37.0.0.0/24 -all\"\nnone.example. TXT \"v=spf1 -all\"\nempty.example. A 192.0.2.1\n"
	for _, c := range []struct {
		name, zone, domains string
		code                int
		want                string
	}{
		{"all publish", zone, "# senders\none.example # the first\n", 0, "the 1 domains of "},
		{"no address", zone, "one.example\nnone.example\n", 1, "none.example: no address is listed"},
		{"no record", zone, "one.example\nempty.example\n", 1, "empty.example has no SPF record"},
		{"no DNS", ";fault one.example. SERVFAIL\n", "one.example\n", 0, "no DNS: the 1 domains of "},
	} {
		w := newWorld(t, c.zone, c.domains)
		out, err := exec.Command("../../scripts/greyskip-sample", w.file, program, "-c", w.config).CombinedOutput()
		code := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		if code != c.code || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: exit code %d, want %d; %q is missing, or not: %s", c.name, code, c.code, c.want, out)
		}
	}
}
