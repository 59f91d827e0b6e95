package packaging

import (
	"compress/gzip"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const docDir = "/usr/share/doc/signpost"

// packageFiles returns the paths in the package, and the paths that its postinst creates.
func packageFiles(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "dpkg-deb --fsys-tarfile "+deb(t, 1)+" | tar -t").Output()
	if err != nil {
		t.Fatal(err)
	}
	files := []string{configFile, "/var/lib/signpost/keys", "/var/lib/signpost/journal", "/var/lib/signpost/locks", "/var/spool/postfix/signpost"}
	for line := range strings.Lines(string(out)) {
		files = append(files, strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "."), "/"))
	}
	return files
}

// elsewhere matches paths that texts contain, but that are not in a Debian package. They are the paths of make install and FreeBSD, the
// paths of the tests and of the package's own scripts, and files that the administrator or a command creates.
var elsewhere = regexp.MustCompile(`^/usr/local/|\.sample$|^dist/(debian/|freebsd|sysusers\.conf|tmpfiles\.conf|prometheus-rules_test\.yml)|^/etc/signpost/(forwarders\.toml|greyskip\.domains|new\.toml|fixed\.pem|tsig\.key|tsig\.secret|cluster\.key|conf\.d.*)$`)

// These expressions match the names that are checked: absolute paths, paths of the repository, pages of documentation, manual pages and
// units.
var (
	absolute = regexp.MustCompile(`(?:^|[^\w./-])((?:/etc/signpost|/lib/systemd|/usr/[\w./@-]*(?:signpost|dkimkey|greyskip))[\w./@-]*)`)
	relative = regexp.MustCompile(`(?:^|[^\w./-])((?:docs|dist)/[\w./-]+)`)
	page     = regexp.MustCompile(`(?:^|[^\w./-])([\w-]+\.md)\b`)
	manual   = regexp.MustCompile(`\b((?:signpost|dkimkey|greyskip)[\w.-]*)\((\d)\)`)
	unit     = regexp.MustCompile(`(?:^|[^\w./-])((?:signpost|dkimkey|greyskip)[\w-]*\.(?:service|socket|timer))\b`)
)

// missing returns the names of files that text contains, but that are not in the package.
func missing(files []string, text string) (lacks []string) {
	need := func(name string, candidates ...string) {
		if !elsewhere.MatchString(name) && !slices.ContainsFunc(candidates, func(c string) bool { return slices.Contains(files, c) }) {
			lacks = append(lacks, name)
		}
	}
	clean := func(s string) string { return strings.TrimRight(s, "./-") }
	for _, m := range absolute.FindAllStringSubmatch(text, -1) {
		need(clean(m[1]), clean(m[1]))
	}
	for _, m := range relative.FindAllStringSubmatch(text, -1) {
		name := clean(m[1])
		need(name, path.Join(docDir, name), path.Join(docDir, "examples", path.Base(name)),
			path.Join(docDir, "examples", strings.TrimPrefix(name, "dist/")), path.Join("/usr/lib/systemd/system", path.Base(name)))
	}
	for _, m := range page.FindAllStringSubmatch(text, -1) {
		need(m[1], path.Join(docDir, m[1]), path.Join(docDir, "docs", m[1]), path.Join(docDir, "docs/decisions", m[1]))
	}
	for _, m := range manual.FindAllStringSubmatch(text, -1) {
		need(m[0], "/usr/share/man/man"+m[2]+"/"+m[1]+"."+m[2]+".gz")
	}
	for _, m := range unit.FindAllStringSubmatch(text, -1) {
		need(m[1], path.Join("/usr/lib/systemd/system", m[1]))
	}
	return lacks
}

// If the documentation, a file of dist, or a message or help text of a program names a file, the package has that file.
func TestNamedFilesArePackaged(t *testing.T) {
	files := packageFiles(t)
	var texts []string
	for _, pattern := range []string{"*.md", "docs/*.md", "dist/*", "dist/debian/*", "dist/fail2ban/*/*"} {
		found, _ := filepath.Glob(filepath.Join("../..", pattern))
		texts = append(texts, found...)
	}
	if len(texts) < 30 {
		t.Fatalf("only %q", texts)
	}
	for _, name := range texts {
		if info, err := os.Stat(name); err != nil || info.IsDir() {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if lacks := missing(files, string(text)); len(lacks) > 0 {
			t.Errorf("%s names files that the package lacks: %q", name, lacks)
		}
	}
	n := 0
	for _, dir := range []string{"cmd", "internal", "keys", "milter", "policy"} {
		err := filepath.WalkDir(filepath.Join("../..", dir), func(name string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return err
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(parsed, func(node ast.Node) bool {
				if s, ok := node.(*ast.BasicLit); ok && s.Kind == token.STRING {
					text, _ := strconv.Unquote(s.Value)
					n++
					// The directory dist does not exist in an installation.
					if lacks := missing(files, text); len(lacks) > 0 || strings.Contains(text, "dist/") {
						t.Errorf("%s: a message names files that the package lacks: %q %q", name, lacks, text)
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
	if n < 3000 {
		t.Errorf("only %d strings", n)
	}
	for text, want := range map[string]int{
		"see docs/upgrade.md, \"Upgrade\", and signpost(8)": 0,
		"see docs/absent.md.":                               1,
		"(absent.md)":                                       1,
		"dist/absent.sieve":                                 1,
		"dist/fail2ban":                                     0,
		"signpost-absent(8)":                                1,
		"signpost-absent.timer":                             1,
		"/usr/share/signpost/absent":                        1,
		"/etc/signpost/signpost.toml:3":                     0,
	} {
		if lacks := missing(files, text); len(lacks) != want {
			t.Errorf("%q: %q", text, lacks)
		}
	}
}

func gunzip(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The package, its programs, the metric and the changelog have the same version. NEWS has no entry for a later version. The contact is
// the same everywhere.
func TestVersion(t *testing.T) {
	if !inside(t) {
		return
	}
	run(t, "dpkg -i "+deb(t, 1))
	version := run(t, "dpkg-query -W -f '${Version}' signpost")
	for _, program := range []string{"signpost", "signpost-cluster", "dkimkey", "greyskip"} {
		if out := run(t, program+" --version"); !slices.Contains(strings.Fields(out), version) {
			t.Errorf("%s --version: %s, the package is %s", program, out, version)
		}
	}
	run(t, `printf '[metrics]\nlisten = "127.0.0.1:9890"\n' >/run/metrics.toml; sed -n '/^\[metrics\]/q;p' `+configFile+` >/run/signpost.toml; cat /run/metrics.toml >>/run/signpost.toml; cp /run/signpost.toml `+configFile)
	start(t)
	metric := ""
	until(t, "the metrics answer", func() bool {
		out, _ := exec.Command("bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/9890 && printf 'GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3 && grep ^signpost_build_info <&3`).Output()
		metric = string(out)
		return metric != ""
	})
	if !strings.Contains(metric, `version="`+version+`"`) && !strings.Contains(metric, `version="`+version+` `) {
		t.Errorf("the metric has another version than %s: %s", version, metric)
	}
	stop(t)
	contact := run(t, "dpkg-query -W -f '${Maintainer}' signpost")
	for file, want := range map[string]string{
		"changelog.gz":   "signpost (" + version + ") ",
		"NEWS.Debian.gz": "signpost (",
	} {
		text := gunzip(t, filepath.Join(docDir, file))
		if !strings.HasPrefix(text, want) || !strings.Contains(text, "\n -- "+contact+"  ") {
			t.Errorf("%s has no entry of %s by %s:\n%s", file, version, contact, text)
		}
		for _, m := range regexp.MustCompile(`(?m)^signpost \((.*)\) `).FindAllStringSubmatch(text, -1) {
			run(t, "dpkg --compare-versions '"+m[1]+"' le '"+version+"'")
		}
	}
	run(t, "dpkg -V signpost")
}
