package main

import (
	"bytes"
	"os"
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
	all, err := parseDomains(sample, bytes.NewReader(text))
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
		all, err := parseDomains("f", strings.NewReader(text))
		got := strings.Join(all, " ")
		if err != nil {
			got = err.Error()
		}
		if err == nil && got != want || err != nil && !strings.HasPrefix(got, want) {
			t.Errorf("%.40q: %.200s, want %s", text, got, want)
		}
	}
}
