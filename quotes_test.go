package signpost

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// literals returns the strings of all Go files except tests. Literals that are joined with + are one string, with "\x00" for a part that is
// not a literal.
func literals(t *testing.T) (all []string) {
	t.Helper()
	var join func(e ast.Expr) string
	join = func(e ast.Expr) string {
		switch e := e.(type) {
		case *ast.BasicLit:
			if s, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
				return s
			}
		case *ast.BinaryExpr:
			if e.Op == token.ADD {
				return join(e.X) + join(e.Y)
			}
		}
		return "\x00"
	}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
				return filepath.SkipDir
			}
			return nil
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				if n.Op == token.ADD {
					all = append(all, join(n))
				}
			case *ast.BasicLit:
				if n.Kind == token.STRING {
					all = append(all, join(n))
				}
			}
			return true
		})
		return nil
	})
	if err != nil || len(all) < 1000 {
		t.Fatalf("%d strings, %v", len(all), err)
	}
	return all
}

// quoted returns the texts in backquotes and in double quotes.
func quoted(text string) (all []string) {
	for _, m := range regexp.MustCompile("`([^`]+)`|\"([^\"]+)\"").FindAllStringSubmatch(text, -1) {
		all = append(all, m[1]+m[2])
	}
	return all
}

// oneLine returns a page or a comment as one line.
func oneLine(text string) string {
	return regexp.MustCompile(`\n#? *`).ReplaceAllString(strings.ReplaceAll(text, `\"`, `"`), " ")
}

// Each message that a page quotes is a message of a program. A quotation counts as a message if it begins in lower case, has three words or
// more, and is not a command. "..." stands for a part that differs.
func TestQuotedMessagesExist(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	decisions, err := filepath.Glob("docs/decisions/*.md")
	if err != nil {
		t.Fatal(err)
	}
	// These are examples of a format, and quotations that are not messages of our programs.
	others := []string{"fail here, pass there", "same: spf dmarc; not reported there: dkim", "tell a friend", "the number of terms for which DNS queries return",
		"mailing list: 30 failing messages of 7 organizations on 30 days; 20 proved genuine",
		"a line of 2000 bytes in the body: Postfix breaks lines over 998 bytes when it sends the message, which breaks the signature",
		"same: spf dkim; dmarc a.b.example.com: fail (no aligned identifier passed; Organizational Domain b.example.com) here, pass there"}
	commands := []string{"signpost", "dkimkey", "greyskip", "systemctl", "dpkg", "ulimit", "exec", "runuser", "rspamadm", "podman", "podman-compose", "docker"}
	prose := regexp.MustCompile(`^[a-z][\w,;:()'.-]*( [\w,;:()'.-]+){2,}$`)
	key := regexp.MustCompile(`^[a-z_.]+: `)
	source := literals(t)
	exists := func(message string) bool {
		return slices.ContainsFunc(source, func(s string) bool {
			for part := range strings.SplitSeq(message, "...") {
				var ok bool
				if _, s, ok = strings.Cut(s, strings.TrimSpace(part)); !ok {
					return false
				}
			}
			return true
		})
	}
	count := 0
	for _, page := range slices.Concat(pages, decisions, []string{"README.md"}) {
		for _, q := range quoted(oneLine(read(t, page))) {
			first, _, _ := strings.Cut(q, " ")
			if !prose.MatchString(q) || slices.Contains(commands, first) || slices.Contains(others, q) {
				continue
			}
			count++
			if !exists(q) && !exists(key.ReplaceAllString(q, "")) {
				t.Errorf("%s quotes %q, which no program writes", page, q)
			}
		}
	}
	if count < 45 {
		t.Errorf("only %d quotations were found", count)
	}
}

// Each log line that a page, a file of dist, or a text of a program quotes is logged.
func TestQuotedLogLinesExist(t *testing.T) {
	texts := map[string]string{"the programs": strings.Join(literals(t), "\n")}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && isText(filepath.ToSlash(path)) {
			texts[path] = read(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	all := logged(t)
	line := regexp.MustCompile("(?:log line|has a line|log message|msg=) ?(`[a-z][^`=]+ [^`=]+`|\"[a-z][^\"=]+ [^\"=]+\")")
	count := 0
	for name, text := range texts {
		for _, m := range line.FindAllStringSubmatch(oneLine(text), -1) {
			count++
			if message := m[1][1 : len(m[1])-1]; !slices.Contains(all, message) {
				t.Errorf("%s: no program logs %q", name, message)
			}
		}
	}
	if count < 4 {
		t.Errorf("only %d log lines were found", count)
	}
}
