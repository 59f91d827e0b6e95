package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"gopkg.in/yaml.v3"

	"signpost/internal/conformance"
	"signpost/internal/testmilter"
)

// spfScenario is one document of a suite: test cases and their DNS.
type spfScenario struct {
	Description string
	Tests       map[string]struct {
		Helo     string
		Host     string
		MailFrom string `yaml:"mailfrom"`
		Result   words
	}
	ZoneData map[string][]yaml.Node `yaml:"zonedata"`
}

// words is one word or a list of words.
type words []string

func (w *words) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*w = []string{n.Value}
		return nil
	}
	return n.Decode((*[]string)(w))
}

// spfDeviations returns the cases whose result differs from the suite, each with the reason: docs/decisions/spf.md.
func spfDeviations() map[string]string {
	return map[string]string{
		"pyspf-tests.yml default-modifier":            "a modifier of pyspf's own: RFC 7208 section 6 has it passed over",
		"pyspf-tests.yml default-modifier-harsh":      "the same, and \"ambiguous\" is no result",
		"pyspf-tests.yml localhost":                   "a client in trusted_networks is never checked",
		"blitirispf-tests.yml mx-resolution-10-terms": "no exchange has addresses: RFC 7208 section 4.6.4 counts each such mx as a void lookup",
	}
}

// dotted adds a parent domain to a single label. The suite of the library uses many single labels, which RFC 7208 section 4.3 does not
// allow.
func dotted(name string) string {
	if name == "" || strings.Contains(name, ".") || strings.HasPrefix(name, "[") {
		return name
	}
	return name + ".test"
}

// dottedSender does the same for MAIL FROM, and dottedRecord does it for the names in a record.
func dottedSender(sender string) string {
	at := strings.LastIndexByte(sender, '@')
	return sender[:at+1] + dotted(sender[at+1:])
}

func dottedRecord(txt string) string {
	return regexp.MustCompile(`((?:include|a|mx|exists|ptr):|(?:redirect|exp)=)([A-Za-z0-9_-]+)(/[0-9/]*)?( |$)`).ReplaceAllString(txt, "${1}${2}.test${3}${4}")
}

// The suites are those of openspf.org, pyspf and blitiri.com.ar/go/spf. The Go module blitiri.com.ar/go/spf contains all three suites. In
// each case, the client sends a message with its HELO and MAIL FROM, and the daemon verifies it with the DNS of the case.
func TestSPFSuites(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "blitiri.com.ar/go/spf").Output()
	if err != nil {
		t.Fatal(err)
	}
	deviations := spfDeviations()
	var mu sync.Mutex
	met := map[string]bool{}
	for _, name := range []string{"rfc7208-tests.yml", "pyspf-tests.yml", "blitirispf-tests.yml"} {
		cases, agree := 0, 0
		t.Run(name, func(t *testing.T) {
			single := name == "blitirispf-tests.yml"
			for i, s := range readSuite(t, filepath.Join(strings.TrimSpace(string(dir)), "testdata", name)) {
				t.Run(fmt.Sprint(i+1), func(t *testing.T) {
					t.Parallel()
					zone := s.zone(t, single)
					d := startDaemon(t, zone, "timeout = \"100ms\"")
					defer d.stop()
					for _, test := range slices.Sorted(maps.Keys(s.Tests)) {
						c := s.Tests[test]
						if single {
							c.MailFrom = dottedSender(c.MailFrom)
						}
						got := d.spfResult(c.Host, c.Helo, c.MailFrom)
						if !slices.Contains(c.Result, got) { // on a busy machine, an answer may take longer
							patient := startDaemon(t, zone, "timeout = \"2s\"")
							got = patient.spfResult(c.Host, c.Helo, c.MailFrom)
							patient.stop()
						}
						id := name + " " + test
						_, deviates := deviations[id]
						mu.Lock()
						met[id] = true
						cases++
						if slices.Contains(c.Result, got) {
							agree++
						}
						mu.Unlock()
						if slices.Contains(c.Result, got) == deviates {
							t.Errorf("%s (%s): %s, the suite has %q; known to deviate: %v", test, s.Description, got, c.Result, deviates)
						}
					}
				})
			}
		})
		conformance.Add(t, "spf-"+name, "SPF: Signpost agrees with %d of %d cases of %s. Each case is played as a whole milter session.", agree, cases, name)
	}
	for id := range deviations {
		if !met[id] {
			t.Errorf("there is no case %s", id)
		}
	}
}

// spfResult sends a message to the daemon and returns the SPF result.
func (d *testDaemon) spfResult(client, helo, sender string) string {
	m := testmilter.Dial(d.t, "unix", d.socket)
	defer m.Close()
	m.ConnectFrom(netip.MustParseAddr(client), helo)
	answers := m.Message(sender, "From\x00 x@from.invalid\x00")
	word := regexp.MustCompile(`\bspf=([a-z]+)`).FindStringSubmatch(strings.Join(answers, "\n"))
	if word == nil {
		return fmt.Sprintf("%q", answers)
	}
	return word[1]
}

func readSuite(t *testing.T, path string) (all []spfScenario) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for decoder := yaml.NewDecoder(f); ; {
		var s spfScenario
		err := decoder.Decode(&s)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
}

// zone writes the DNS of a scenario as a zone file. Most records in the suites have type SPF, which RFC 7208 section 3.1 has abolished.
// They are copied to type TXT if the name has no TXT entry.
func (s spfScenario) zone(t *testing.T, single bool) string {
	t.Helper()
	var b strings.Builder
	named, recorded := escapeName, func(txt string) string { return txt }
	if single {
		named, recorded = func(name string) string { return escapeName(dotted(name)) }, dottedRecord
	}
	for _, name := range slices.Sorted(maps.Keys(s.ZoneData)) {
		owner := named(name)
		txt, spf, fault := []string{}, []string{}, ""
		hasTXT := false
		for _, entry := range s.ZoneData[name] {
			if entry.Kind == yaml.ScalarNode {
				fault = entry.Value
				continue
			}
			kind, value := entry.Content[0].Value, entry.Content[1]
			switch kind {
			case "TIMEOUT", "SERVFAIL", "CNAMELOOP":
				fault = kind
			case "TXT":
				hasTXT = true
				if value.Value != "NONE" {
					txt = append(txt, quoteStrings(t, value, recorded))
				}
			case "SPF":
				if value.Value != "TIMEOUT" {
					spf = append(spf, quoteStrings(t, value, recorded))
				}
			case "MX":
				host := named(value.Content[1].Value)
				fmt.Fprintf(&b, "%s MX %s %s\n", owner, value.Content[0].Value, host)
			case "A", "AAAA":
				fmt.Fprintf(&b, "%s %s %s\n", owner, kind, value.Value)
			case "PTR", "CNAME":
				fmt.Fprintf(&b, "%s %s %s\n", owner, kind, named(value.Value))
			default:
				t.Fatalf("%s: %s is an unknown type", name, kind)
			}
		}
		if !hasTXT {
			txt = spf
		}
		for _, text := range txt {
			fmt.Fprintf(&b, "%s TXT %s\n", owner, text)
		}
		switch {
		case fault == "CNAMELOOP":
			fmt.Fprintf(&b, "%s CNAME %s\n", owner, owner)
		case fault != "" && len(txt) == 0:
			fmt.Fprintf(&b, ";fault %s %s\n", owner, fault)
		}
	}
	return b.String()
}

func quoteStrings(t *testing.T, n *yaml.Node, recorded func(string) string) string {
	t.Helper()
	var parts words
	if err := n.Decode(&parts); err != nil {
		t.Fatal(err)
	}
	if len(parts) == 0 {
		return `""`
	}
	var b strings.Builder
	for _, p := range parts {
		p = recorded(p)
		for len(p) > 255 { // the maximum length of a string
			b.WriteString(`"` + escapeOctets(p[:255], "") + `" `)
			p = p[255:]
		}
		b.WriteString(`"` + escapeOctets(p, "") + `" `)
	}
	return b.String()
}

func escapeName(name string) string {
	return strings.TrimSuffix(escapeOctets(name, "."), ".") + "."
}

// escapeOctets writes all bytes except letters, digits and hyphens as \DDD of a zone file.
func escapeOctets(s, plain string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || strings.IndexByte(plain, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "\\%03d", c)
		}
	}
	return b.String()
}
