package signpost

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The arrows of the design: which of our packages each may import, directly or not. What is not listed here must be, with
// a reason, before it lands.
func TestImports(t *testing.T) {
	leaves := []string{"milter", "internal/dkim", "internal/authres", "internal/dns"}
	policy := []string{"internal/dkim", "internal/dmarc", "internal/spf"}
	keys := []string{"internal/dkim", "internal/dns"}
	filter := slices.Concat([]string{"milter", "policy", "keys", "internal/authres", "internal/dns"}, policy)
	allowed := map[string][]string{
		"policy":          policy,
		"keys":            keys,
		"internal/ranges": nil,
		// In whose directories a path lies.
		"internal/owner": nil,
		// Of the page and the metrics.
		"internal/hostheader": nil,
		// SPF with sets of addresses in the place of the client.
		"internal/senders": {"internal/dkim", "internal/spf", "internal/ranges"},
		// For what a domain name is.
		"internal/dmarc":   {"internal/dkim"},
		"internal/spf":     {"internal/dkim"},
		"internal/config":  {"internal/dkim"},
		"internal/filter":  filter,
		"internal/cli":     nil,
		"internal/man":     nil,
		"internal/doctor":  slices.Concat(policy, keys, []string{"internal/config", "keys", "milter"}),
		"cmd/signpost":     slices.Concat(filter, []string{"internal/filter", "internal/journal", "internal/config", "internal/cli", "internal/man", "internal/doctor", "internal/metrics", "internal/story", "internal/whatif", "internal/web", "internal/forwarders", "internal/hostheader", "internal/owner"}),
		"cmd/greyskip":     {"internal/owner", "internal/senders", "internal/spf", "internal/ranges", "internal/dkim", "internal/dns", "internal/config", "internal/cli", "internal/man"},
		"cmd/dkimkey":      {"keys", "internal/dkim", "internal/dns", "internal/config", "internal/cli", "internal/man"},
		"internal/journal": slices.Concat(filter, []string{"internal/filter"}),
		// Makes the journal's decisions again: policy and what filter reports.
		"internal/whatif": slices.Concat(filter, []string{"internal/filter", "internal/journal"}),
		// The page; what it shows is handed in.
		"internal/web": slices.Concat(filter, []string{"internal/filter", "internal/journal", "internal/story", "internal/doctor", "internal/config", "internal/hostheader"}),
		// Learns from the journal's evidence whom to propose.
		"internal/forwarders": slices.Concat(filter, []string{"internal/filter", "internal/journal"}),
		// Counts what filter, dns and keys tell; imported by the daemon alone, so that none of them knows of Prometheus.
		"internal/metrics": slices.Concat(filter, []string{"internal/filter", "internal/hostheader"}),
		// Explains what filter reports; pure but for the walks that it goes again.
		"internal/story": slices.Concat(filter, []string{"internal/filter"}),
		// Tests and the demo.
		"internal/testport": nil, "internal/testmta": {"internal/testport"}, "internal/testdns": {"internal/dns"}, "internal/testdkim": nil, "internal/testmilter": nil, "internal/testbind": {"internal/testport"}, "internal/e2e": nil, "internal/packaging": nil, "internal/conformance": nil, "internal/testauthres": nil,
		"internal/bench": {"internal/testport", "internal/testmta", "internal/testdns", "internal/dkim", "internal/dns"},
		"internal/demo":  {"internal/testport", "internal/testmta", "internal/testdns", "internal/testdkim", "internal/dns"},
	}
	for _, l := range leaves {
		allowed[l] = nil
	}
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Deps \" \"}}", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		deps := strings.Fields(line)
		name, ok := strings.CutPrefix(deps[0], "signpost/")
		if !ok {
			continue // this package
		}
		may, known := allowed[name]
		if !known {
			t.Errorf("%s is not in the picture", name)
		}
		for _, d := range deps[1:] {
			if d, ours := strings.CutPrefix(d, "signpost/"); ours && !slices.Contains(may, d) {
				t.Errorf("%s imports %s, which the picture does not have", name, d)
			}
		}
	}
}

// No test may depend on files beside the repository: a clone elsewhere lacks them. A path is a string that begins with "../".
func TestPathsStayInRepository(t *testing.T) {
	err := filepath.WalkDir(".", func(file string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(file) != ".go" {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if s, ok := n.(*ast.BasicLit); ok && s.Kind == token.STRING {
				text, err := strconv.Unquote(s.Value)
				if up, _, ok := strings.Cut(text, "/"); err == nil && ok && up == ".." && !filepath.IsLocal(filepath.Join(filepath.Dir(file), text)) {
					t.Errorf("%s: %s leaves the repository", file, text)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
