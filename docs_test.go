package signpost

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"signpost/internal/doctor/domain"
	"signpost/internal/doctor/host"
	"signpost/internal/doctor/postfix"
	"signpost/internal/doctor/reports"

	"signpost/internal/man"
)

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// sources returns the files of the packages in these directories, without their tests.
func sources(t *testing.T, pattern string) (all []*ast.File) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatal(pattern, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, parsed)
	}
	return all
}

// stringsOf returns strings from the packages in these directories. For each call of a function with one of these names, it returns the
// first string in the arguments. The names are without the package: String matches slog.String.
func stringsOf(t *testing.T, pattern string, names ...string) []string {
	t.Helper()
	var all []string
	for _, file := range sources(t, pattern) {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := ""
			switch f := call.Fun.(type) {
			case *ast.Ident:
				name = f.Name
			case *ast.SelectorExpr:
				name = f.Sel.Name
			}
			if !slices.Contains(names, name) {
				return true
			}
			for _, arg := range call.Args {
				if s, ok := arg.(*ast.BasicLit); ok && s.Kind == token.STRING {
					text, err := strconv.Unquote(s.Value)
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, text)
					break
				}
			}
			return true
		})
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// sectionOf returns the text of a section with its subsections. The parameter section is its heading, such as "## Install".
func sectionOf(t *testing.T, text, section string) string {
	t.Helper()
	_, text, ok := strings.Cut(text, "\n"+section+"\n")
	if !ok {
		t.Fatalf("section %s is missing", section)
	}
	level := strings.IndexByte(section, ' ')
	if end := regexp.MustCompile(fmt.Sprintf("(?m)^#{1,%d} ", level)).FindStringIndex(text); end != nil {
		text = text[:end[0]]
	}
	return text
}

// column returns the texts in backquotes in a column of the tables of a section.
func column(t *testing.T, text, section string, column int) []string {
	t.Helper()
	var all []string
	for line := range strings.Lines(sectionOf(t, text, section)) {
		cells := strings.Split(line, "|")
		if !strings.HasPrefix(line, "|") || len(cells) < column+2 {
			continue
		}
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[column], -1) {
			all = append(all, m[1])
		}
	}
	return all
}

// differ reports the elements that are in only one of two lists.
func differ(t *testing.T, what string, got, want []string) {
	t.Helper()
	for _, s := range got {
		if !slices.Contains(want, s) {
			t.Errorf("%s: %q is only in the documentation: add it to the code, or delete it there", what, s)
		}
	}
	for _, s := range want {
		if !slices.Contains(got, s) {
			t.Errorf("%s: %q is not in the documentation", what, s)
		}
	}
}

// logged returns the messages that the programs log.
func logged(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, folder := range []string{"cmd/signpost", "cmd/dkimkey", "keys", "milter", "internal/daemon", "internal/setup", "internal/filter", "internal/dns", "internal/journal", "internal/lookup", "internal/cluster", "internal/report/send", "internal/report/hosts", "internal/report/worker", "cmd/signpost-cluster"} {
		all = append(all, stringsOf(t, folder+"/*.go", "Debug", "Info", "Warn", "Error", "warn")...)
	}
	return all
}

// docs/log.md lists each message, and each field in the log line of a message. It lists no message or field that is not logged.
func TestLogIsDocumented(t *testing.T) {
	text := read(t, "docs/log.md")
	var documented []string
	for _, section := range []string{"### The daemon", "### Lookup tables", "### The cluster", "### Keys", "### DMARC reports", "### Received reports"} {
		documented = append(documented, column(t, text, section, 2)...)
	}
	differ(t, "messages", documented, logged(t))

	fields := stringsOf(t, "internal/filter/log.go", "String", "Bool", "Int", "Int64", "Float64", "text", "number")
	fields = slices.DeleteFunc(fields, func(s string) bool { return !regexp.MustCompile(`^[a-z_]+$`).MatchString(s) })
	differ(t, "fields", column(t, text, "### A message", 1), fields)
}

// docs/doctor.md lists exactly the checks of doctor, with their descriptions.
func TestChecksAreDocumented(t *testing.T) {
	var want []string
	for _, c := range slices.Concat(host.Checks(host.Facts{}), postfix.Checks(postfix.Facts{}), reports.Checks(reports.Facts{}), reports.ReceivedChecks(reports.Received{}), domain.HostChecks(domain.Host{}, nil), domain.Checks(domain.Facts{})) {
		want = append(want, c.Name+": "+c.Doc)
	}
	_, text, _ := strings.Cut(read(t, "docs/doctor.md"), "\n## What doctor checks\n")
	text, _, _ = strings.Cut(text, "\n## ")
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)`(?: \\(own\\))? \\| (.*?) \\|").FindAllStringSubmatch(text, -1) {
		got = append(got, m[1]+": "+strings.ReplaceAll(m[2], "`", ""))
	}
	differ(t, "checks", got, want)
}

// Each file and directory that docs/architecture.md names exists. If the page states that a name is in a file, the file declares this name
// or has a field of this name. Each test that a recipe names exists.
func TestArchitectureNamesWhatExists(t *testing.T) {
	page := read(t, "docs/architecture.md")
	paths := 0
	for _, m := range regexp.MustCompile("`((?:[a-z0-9_-]+/)+[a-z0-9_.-]*|[a-z_]+\\.go)`").FindAllStringSubmatch(page, -1) {
		paths++
		if _, err := os.Stat(m[1]); err != nil {
			t.Error(err)
		}
	}
	named := regexp.MustCompile("`(\\w+)`(?:,| and `(\\w+)`)? in\\s+`([a-z0-9_/]+\\.go)`").FindAllStringSubmatch(page, -1)
	for _, m := range named {
		for _, name := range m[1:3] {
			if declared := regexp.MustCompile(`(?m)^(func (\(.*?\) )?|type |\t)` + name + `\b`); name != "" && !declared.MatchString(read(t, m[3])) {
				t.Errorf("%s does not have %s", m[3], name)
			}
		}
	}
	if paths < 50 || len(named) < 50 {
		t.Errorf("only %d paths and %d names were found", paths, len(named))
	}
	tests := ""
	for _, pattern := range []string{"*_test.go", "internal/config/*_test.go", "internal/setup/*_test.go", "internal/journal/*_test.go", "internal/daemon/*_test.go", "internal/explain/*_test.go", "internal/whatif/*_test.go", "policy/*_test.go"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			tests += read(t, file)
		}
	}
	for _, name := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(page, -1) {
		if !strings.Contains(tests, "\nfunc "+name+"(") {
			t.Errorf("there is no %s in the packages that docs/architecture.md tests", name)
		}
	}
}

// Each configuration key that docs/from-opendkim.md names exists.
func TestKeysOfTheMoveExist(t *testing.T) {
	sample, err := man.ReadSample([]byte(read(t, "dist/signpost.toml")))
	if err != nil {
		t.Fatal(err)
	}
	keys := append(sample.Keys(), "[[allow]]", "[[deny]]")
	text := read(t, "docs/from-opendkim.md")
	named := 0
	for _, section := range []string{"## opendkim.conf", "## opendmarc.conf", "## policyd-spf.conf"} {
		for _, s := range column(t, text, section, 2) {
			key, _, _ := strings.Cut(s, " = ")
			if strings.HasPrefix(s, "dkimkey ") {
				continue
			}
			named++
			if !slices.Contains(keys, key) && key != "permerror" {
				t.Errorf("%s: there is no key %q", section, key)
			}
		}
	}
	if named < 40 {
		t.Errorf("%d keys were found in the tables", named)
	}
}

// The types hash and btree need Berkeley DB, and the others are in separate packages of some systems.
func TestExamplesNeedNoDatabase(t *testing.T) {
	table := regexp.MustCompile(`\b(hash|btree|lmdb|cdb|pcre):[/$]`)
	for _, pattern := range []string{"README.md", "docs/*.md", "dist/*", "dist/*/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			if info, err := os.Stat(file); err != nil || info.IsDir() {
				continue
			}
			for line := range strings.Lines(read(t, file)) {
				if table.MatchString(line) {
					t.Errorf("%s: an example has a table that some Postfix cannot open: %s", file, line)
				}
			}
		}
	}
}

// The numbers of cases in docs/conformance.md are those of testdata. The command "make test" compares the other numbers.
func TestConformanceCounts(t *testing.T) {
	page := read(t, "docs/conformance.md")
	// cases returns the number of files, and the sum of the results of count.
	cases := func(pattern string, count func(parts map[string]string) int) (files, counted int) {
		t.Helper()
		all, err := filepath.Glob(pattern)
		if err != nil || len(all) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range all {
			parts := map[string]string{}
			for _, f := range txtar.Parse([]byte(read(t, file))).Files {
				parts[f.Name] = string(f.Data)
			}
			counted += count(parts)
		}
		return len(all), counted
	}
	none := func(map[string]string) int { return 0 }
	lines := func(parts map[string]string) int { return strings.Count(parts["cases"], "\n") }
	plays := func(parts map[string]string) int { // TestCases of cmd/signpost plays such a case ten times, each time with another fault
		if strings.Contains(parts["dns"], "%FAULT%") {
			return 10
		}
		return 1
	}
	arc, _ := cases("internal/dkim/testdata/arc/*.txtar", none)
	dkim, _ := cases("internal/dkim/testdata/*.txtar", none)
	_, dmarc := cases("internal/dmarc/testdata/*.txtar", lines)
	ordinary, played := cases("testdata/*.txtar", plays)
	attacks, attacksPlayed := cases("testdata/*/*.txtar", plays)
	for _, want := range []string{
		fmt.Sprintf("- ARC: %d cases ", arc), fmt.Sprintf("- DKIM: %d cases ", dkim), fmt.Sprintf("- DMARC: %d cases ", dmarc),
		fmt.Sprintf("- Whole messages: %d cases, %d of them attacks, played %d times ", ordinary+attacks, attacks, played+attacksPlayed),
	} {
		if !strings.Contains(page, want) {
			t.Errorf("docs/conformance.md lacks %q: make conformance writes it", want)
		}
	}
}

// The manual pages that "make man" writes have exactly the commands and flags of the help. groff reports no error.
func TestManuals(t *testing.T) {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-o", dir, "./cmd/...") // the same flags as in make build, so that cached packages are reused
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.Command(filepath.Join(dir, name), args...).Output()
		if err != nil {
			t.Fatal(name, args, err)
		}
		return string(out)
	}
	pages := map[string]string{"signpost.toml": run("signpost", "manual", "dist/signpost.toml")}
	for program, least := range map[string]int{"signpost": 15, "signpost-cluster": 8, "dkimkey": 15, "greyskip": 12} {
		page := run(program, "manual")
		pages[program] = page
		var shown, helped []string
		section := ""
		for line := range strings.Lines(strings.ReplaceAll(page, `\-`, "-")) {
			if name, ok := strings.CutPrefix(line, ".SS "); ok {
				section = strings.TrimSpace(name)
				shown = append(shown, section)
			}
			if strings.HasPrefix(line, ".SH ") {
				section = ""
			}
			if m := regexp.MustCompile(`^\\fB(?:-\w, )?--([a-z-]+)\\fP`).FindStringSubmatch(line); m != nil {
				shown = append(shown, section+" --"+m[1])
			}
		}
		var walk func(command string)
		walk = func(command string) {
			help := run(program, append(strings.Fields(command), "--help")...)
			own, _, _ := strings.Cut(help, "Global Flags:")
			for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z-]+)`).FindAllStringSubmatch(own, -1) {
				if m[1] != "help" || command == "" {
					helped = append(helped, command+" --"+m[1])
				}
			}
			_, list, _ := strings.Cut(own, "Available Commands:\n")
			list, _, _ = strings.Cut(list, "\n\n")
			for line := range strings.Lines(list) {
				name := strings.Fields(line)[0]
				if program == "signpost" && name == "cluster" { // its help is that of signpost-cluster
					helped = append(helped, name)
				} else if name != "help" && name != "completion" && name != "version" { // every program has these; OPTIONS mentions version
					below := strings.TrimSpace(command + " " + name)
					helped = append(helped, below)
					walk(below)
				}
			}
		}
		walk("")
		if len(helped) < least {
			t.Errorf("%s: only %q", program, helped)
		}
		differ(t, program, shown, helped)
	}
	if testing.Short() {
		return // groff may be missing
	}
	for name, page := range pages {
		c := exec.Command("groff", "-man", "-ww", "-Tutf8", "-z")
		c.Stdin = strings.NewReader(page)
		if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
