package signpost

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestImports compares the direct imports of each package, without its tests, with the rules of docs/architecture.md: imports point in
// one direction. A new import needs an entry here, and a reason. An entry that no package uses any longer is an error.
func TestImports(t *testing.T) {
	allowed := map[string]string{
		"cmd/dkimkey":               "cli cluster/control config domain man report/seen setup term keys keys/opendkim keys/rspamd policy",
		"cmd/greyskip":              "allowlist cli dns domain man setup term",
		"cmd/signpost":              "cli cluster/control cluster/messages config daemon decision digest dkim dmarc dns doctor doctor/host doctor/postfix doctor/reports domain durable explain filter forwarders glance journal lookup man metrics monitor owner report report/hosts report/read report/received report/seen report/send report/status report/summary report/worker setup spf spool term top trace trial web whatif keys milter policy",
		"cmd/signpost-cluster":      "cli cluster cluster/control cluster/messages config durable man owner setup term keys milter",
		"internal/allowlist":        "cli dns durable owner spfset term",
		"internal/authres":          "domain",
		"internal/cli":              "doctor man owner term",
		"internal/cluster":          "cluster/control cluster/messages domain durable journal keys",
		"internal/cluster/control":  "domain",
		"internal/cluster/messages": "cluster/control journal policy",
		"internal/config":           "domain durable lookup",
		"internal/conformance":      "",
		"internal/daemon":           "cluster/control config decision dns durable filter journal lookup metrics report report/status setup spool keys milter",
		"internal/decision":         "dns policy",
		"internal/demo":             "dkim testdkim testdns testmta",
		"internal/digest":           "journal report/received report/status report/summary term keys policy",
		"internal/dkim":             "domain",
		"internal/dmarc":            "domain",
		"internal/dns":              "",
		"internal/doctor":           "",
		"internal/doctor/domain":    "dkim dmarc dns doctor domain spf keys policy",
		"internal/doctor/host":      "cluster/control doctor",
		"internal/doctor/postfix":   "doctor domain milter",
		"internal/doctor/reports":   "dkim dmarc dns doctor domain report/status spf",
		"internal/domain":           "",
		"internal/durable":          "",
		"internal/e2e":              "",
		"internal/explain":          "cluster/messages decision dkim dmarc dns domain journal spf term milter policy",
		"internal/filter":           "authres decision dkim dmarc dns domain report/read spf spool keys milter policy",
		"internal/forwarders":       "dkim dmarc domain journal spf term policy",
		"internal/glance":           "dns doctor doctor/domain report/received report/seen report/status report/summary term keys",
		"internal/hostheader":       "domain",
		"internal/journal":          "decision dkim dmarc dns domain durable spf policy",
		"internal/lookup":           "durable",
		"internal/man":              "",
		"internal/metrics":          "cluster/control decision dkim dmarc dns hostheader report/status spf keys policy",
		"internal/monitor":          "cli cluster/control doctor journal metrics report/status keys milter",
		"internal/owner":            "durable",
		"internal/packaging":        "",
		"internal/report":           "dkim dmarc dns domain durable journal report/db spf policy",
		"internal/report/db":        "",
		"internal/report/hosts":     "cluster/control journal report report/received report/send",
		"internal/report/read":      "domain",
		"internal/report/received":  "report/db report/read report/seen report/status",
		"internal/report/seen":      "durable keys",
		"internal/report/send":      "dmarc dns domain journal report spool",
		"internal/report/status":    "durable",
		"internal/report/summary":   "report/read report/received report/status term",
		"internal/report/worker":    "dmarc domain durable journal report/read report/received report/status policy",
		"internal/setup":            "cli cluster/control config dns doctor doctor/domain doctor/host doctor/postfix doctor/reports domain durable filter lookup owner report/status keys keys/publish policy",
		"internal/spf":              "domain",
		"internal/spfset":           "spf",
		"internal/spool":            "durable",
		"internal/term":             "",
		"internal/soak":             "",
		"internal/soak/judge":       "",
		"internal/soak/traffic":     "soak/judge testmta",
		"internal/testauthres":      "testport",
		"internal/testbind":         "testport",
		"internal/testcli":          "",
		"internal/testdkim":         "testport",
		"internal/testdns":          "dns",
		"internal/testjournal":      "",
		"internal/testmilter":       "",
		"internal/testmta":          "testport",
		"internal/testport":         "",
		"internal/testreports":      "report/read report/received report/status",
		"internal/testsql":          "testport",
		"internal/top":              "journal metrics term keys policy",
		"internal/trace":            "dkim",
		"internal/trial":            "decision dmarc doctor domain explain keys policy",
		"internal/web":              "cluster/control cluster/messages doctor domain explain glance hostheader journal report report/received report/seen report/status report/summary keys policy",
		"internal/whatif":           "dkim dmarc journal spf term policy",
		"keys":                      "dkim dns domain durable",
		"keys/keystest":             "dns domain keys",
		"keys/opendkim":             "domain keys",
		"keys/publish":              "dns durable keys",
		"keys/rspamd":               "domain keys",
		"milter":                    "",
		"policy":                    "dkim dmarc domain spf",
	}
	rows := picture(t)
	list, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		fields := strings.Fields(line)
		name, ours := strings.CutPrefix(fields[0], "signpost/")
		if !ours {
			continue // this package
		}
		want, known := allowed[name]
		if !known {
			t.Errorf("%s is a new package: add it to allowed", name)
		}
		delete(allowed, name)
		if rows[name] == 0 {
			t.Errorf("%s is not in the picture of docs/architecture.md", name)
		}
		var got []string
		for _, path := range fields[1:] {
			if path, ours := strings.CutPrefix(path, "signpost/"); ours {
				if rows[path] <= rows[name] {
					t.Errorf("%s imports %s, which is not lower in the picture of docs/architecture.md", name, path)
				}
				got = append(got, strings.TrimPrefix(path, "internal/"))
			}
		}
		for _, path := range got {
			if !slices.Contains(strings.Fields(want), path) {
				t.Errorf("%s imports %s, which is not allowed", name, path)
			}
		}
		for path := range strings.FieldsSeq(want) {
			if !slices.Contains(got, path) {
				t.Errorf("%s no longer imports %s: delete it from allowed", name, path)
			}
		}
	}
	for name := range allowed {
		t.Errorf("package %s no longer exists: delete it from allowed", name)
	}
}

// picture returns the row of each package in the pictures of docs/architecture.md. Row 1 is at the top. The picture of the packages for
// tests is the second on the page. It is read first here, because these packages import the others.
func picture(t *testing.T) map[string]int {
	parts := strings.Split(read(t, "docs/architecture.md"), "```\n")
	if len(parts) != 5 {
		t.Fatalf("docs/architecture.md has %d marks of pictures, want 4", len(parts)-1)
	}
	rows, n := map[string]int{}, 0
	for line := range strings.Lines(parts[3] + parts[1]) {
		n++
		names, _, _ := strings.Cut(line, "|")
		for name := range strings.FieldsSeq(names) {
			if rows[name] != 0 {
				t.Errorf("%s is twice in the pictures of docs/architecture.md", name)
			}
			rows[name] = n
			if _, err := os.Stat(name); err != nil {
				t.Error(err)
			}
		}
	}
	return rows
}

// TestNoDatabaseDriver checks the packages that the programs import, directly or indirectly. The daemon reads untrusted input, and opens only
// its own database; dkimkey asks the cluster process. Only signpost-cluster imports a driver for PostgreSQL or MariaDB, or the package that
// uses them. The packages of the control socket and of its messages have no driver.
func TestNoDatabaseDriver(t *testing.T) {
	for _, program := range []string{"./cmd/signpost", "./cmd/dkimkey", "./cmd/greyskip"} {
		deps, err := exec.Command("go", "list", "-deps", program).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range strings.Fields(string(deps)) {
			for _, forbidden := range []string{"signpost/internal/cluster", "github.com/jackc/", "github.com/lib/pq", "github.com/go-sql-driver/", "github.com/go-mysql-org/"} {
				if strings.HasPrefix(path, forbidden) && path != "signpost/internal/cluster/control" && path != "signpost/internal/cluster/messages" {
					t.Errorf("%s depends on %s", program, path)
				}
			}
		}
	}
}

// TestConcurrentPackages checks that "make test" tests each package that starts goroutines with the race detector, and that each name of a
// test in the Makefile still exists. The packages internal/test* are used by tests only.
func TestConcurrentPackages(t *testing.T) {
	variables := map[string]string{}
	for line := range strings.Lines(read(t, "Makefile")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		variables[name] = strings.TrimSuffix(strings.TrimPrefix(value, "$(addprefix ./,"), ")")
	}
	partly := strings.Fields(variables["PARTLY"])
	names := append(strings.Fields(variables["CONCURRENT"]), partly...)
	var tests strings.Builder
	for _, dir := range partly {
		files, err := filepath.Glob(dir + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			tests.WriteString(read(t, file))
		}
	}
	for name := range strings.SplitSeq(strings.ReplaceAll(variables["AT_ONCE"], "$$", `\b`), "|") {
		if !regexp.MustCompile(`(?m)^func \w*` + name).MatchString(tests.String()) {
			t.Errorf("no test has the name %s, which is in AT_ONCE in the Makefile", name)
		}
	}
	err := filepath.WalkDir(".", func(file string, _ fs.DirEntry, err error) error {
		name := filepath.Dir(file)
		if err != nil || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") ||
			strings.HasPrefix(name, "internal/test") || name == "bench" || slices.Contains(names, name) {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			starts := false
			switch n := n.(type) {
			case *ast.GoStmt:
				starts = true
			case *ast.SelectorExpr:
				starts = n.Sel.Name == "Go"
			}
			if starts {
				t.Errorf("%s starts goroutines: add %s to CONCURRENT in the Makefile", file, name)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A test must not depend on files outside the repository, because other clones do not have them. A string that begins with "../" is
// treated as a path.
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
