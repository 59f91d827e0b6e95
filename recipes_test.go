package signpost

import (
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"signpost/internal/decision"
	"signpost/internal/explain"
	"signpost/policy"
)

// TestRecipes finds forgotten steps of the recipes in docs/architecture.md that no other test finds. Examples are a field or constant
// that is not used, and a word that is not documented.
func TestRecipes(t *testing.T) {
	code := checkTypes(t)
	except := []string{ // only tests set these Facts; the other fields are for JSON, or are set by the reader of the record
		"internal/doctor/host.Facts.User", "internal/doctor/postfix.Facts.User", "internal/doctor/postfix.Facts.Root", "internal/doctor/postfix.Facts.Wait",
		"internal/decision.Record.Version", "internal/decision.Record.Lookups",
	}
	setup := []string{"internal/setup", "internal/daemon", "cmd/signpost"}
	for _, want := range []struct {
		of string
		by []string // each field is used by at least one of these packages
	}{
		{"policy.Rules", []string{"policy"}},
		{"policy.Rules", setup},
		{"internal/filter.Filter", []string{"internal/filter"}},
		{"internal/filter.Filter", setup},
		{"internal/decision.Record", []string{"internal/filter/finish.go"}},
		{"internal/decision.Record", []string{"internal/explain", "internal/filter/log.go", "internal/journal"}},
		{"internal/doctor/host.Facts", []string{"internal/doctor/host"}},
		{"internal/doctor/host.Facts", setup},
		{"internal/doctor/postfix.Facts", []string{"internal/doctor/postfix"}},
		{"internal/doctor/postfix.Facts", setup},
	} {
		for _, field := range code.fields(t, want.of) {
			if !slices.Contains(except, field) && !code.used(field, func(file string) bool {
				return slices.ContainsFunc(want.by, func(by string) bool { return file == by || filepath.Dir(file) == by })
			}) {
				t.Errorf("%s: no file uses it in %s", field, strings.Join(want.by, " or "))
			}
		}
	}
	const schema = "internal/config/schema.go"
	for name := range code.scope(t, "internal/config") {
		if of := "internal/config." + name; code.declared[of] == schema {
			for _, field := range code.fields(t, of) {
				if !code.used(field, func(file string) bool { return file != schema }) {
					t.Errorf("%s: no file except %s uses it; internal/setup passes it on", field, schema)
				}
			}
		}
	}
	for name, o := range code.scope(t, "policy") {
		c, ok := o.(*types.Const)
		if !ok || !strings.HasSuffix(c.Type().String(), "/policy.Code") {
			continue
		}
		if !slices.Contains(policy.Codes(), policy.Code(constant.StringVal(c.Val()))) {
			t.Errorf("policy.%s: Codes does not return it", name)
		}
		if !code.used("policy."+name, func(file string) bool {
			return file != "policy/reason.go" && file != "policy/text.go" && filepath.Dir(file) != "internal/explain"
		}) {
			t.Errorf("policy.%s: no rule uses it", name)
		}
	}
	explained := map[string]bool{}
	operations, described := read(t, "docs/log.md"), column(t, read(t, "docs/json.md"), "## Overrides", 1)
	for name, o := range code.scope(t, "policy") {
		c, ok := o.(*types.Const)
		if !ok || !strings.HasSuffix(c.Type().String(), "/policy.Override") {
			continue
		}
		if !code.used("policy."+name, func(file string) bool { return filepath.Dir(file) == "policy" }) {
			t.Errorf("policy.%s: no rule of policy/ uses it", name)
		}
		word := constant.StringVal(c.Val())
		for _, row := range explain.Message(&decision.Record{Verdict: policy.Verdict{Override: policy.Override(word)}}).Decided {
			if text, ok := strings.CutPrefix(row.Text, word+": "); ok {
				if text == "" || explained[text] {
					t.Errorf("policy.%s: internal/explain/explain.go has no text for it", name)
				}
				explained[text] = true
			}
		}
		_, line, _ := strings.Cut(operations, "\n| `override` | ")
		if line, _, _ = strings.Cut(line, "\n"); !strings.Contains(line, word) {
			t.Errorf("policy.%s: docs/log.md, \"A message\", lacks %s", name, word)
		}
		if !slices.Contains(described, word) {
			t.Errorf("policy.%s: docs/json.md, \"Overrides\", lacks %s", name, word)
		}
	}
	if len(explained) == 0 {
		t.Error("no override was found")
	}
}

// code has the names that the packages of this module declare and use, without their tests.
type code struct {
	packages map[string]*types.Package
	declared map[string]string   // name of a type, as internal/config.Keys -> file
	uses     map[string][]string // name of a constant, function, field or method, as internal/config.Keys.Resolver -> files
}

func (c *code) scope(t *testing.T, pkg string) map[string]types.Object {
	t.Helper()
	p := c.packages[pkg]
	if p == nil {
		t.Fatalf("package %s does not exist", pkg)
	}
	all := map[string]types.Object{}
	for _, name := range p.Scope().Names() {
		all[name] = p.Scope().Lookup(name)
	}
	return all
}

// fields returns the exported fields of a struct, or none for another type.
func (c *code) fields(t *testing.T, of string) (all []string) {
	t.Helper()
	dot := strings.LastIndexByte(of, '.')
	o := c.scope(t, of[:dot])[of[dot+1:]]
	if o == nil {
		t.Fatalf("%s does not exist", of)
	}
	if s, ok := o.Type().Underlying().(*types.Struct); ok {
		for f := range s.Fields() {
			if f.Exported() {
				all = append(all, of+"."+f.Name())
			}
		}
	}
	return all
}

func (c *code) used(name string, in func(file string) bool) bool {
	return slices.ContainsFunc(c.uses[name], in)
}

// checkTypes reads the packages of this module. It reads their imports from the compiler's cache.
func checkTypes(t *testing.T) *code {
	t.Helper()
	cmd := exec.Command("go", "list", "-trimpath", "-export", "-deps", "-f", `{{.ImportPath}};{{.Export}};{{join .GoFiles " "}}`, "./...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // like -trimpath, as in make build, so that cached packages are reused
	cmd.Stderr = os.Stderr                          // compile errors
	list, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: the packages do not compile, see above", err)
	}
	exports, files := map[string]string{}, map[string][]string{}
	for line := range strings.Lines(string(list)) {
		part := strings.Split(strings.TrimSpace(line), ";")
		exports[part[0]] = part[1]
		if name, ours := strings.CutPrefix(part[0], "signpost/"); ours {
			for file := range strings.FieldsSeq(part[2]) {
				files[name] = append(files[name], filepath.Join(name, file))
			}
		}
	}
	set := token.NewFileSet()
	imports := importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	// Each package is imported separately, because the export data of another package contains only a part of it.
	for name := range files {
		if _, err := imports.Import("signpost/" + name); err != nil {
			t.Fatal(err)
		}
	}
	c := &code{map[string]*types.Package{}, map[string]string{}, map[string][]string{}}
	names := map[*types.Package]map[types.Object]string{}
	for name := range maps.Keys(files) {
		var parsed []*ast.File
		for _, file := range files[name] {
			f, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			parsed = append(parsed, f)
		}
		info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{}}
		if c.packages[name], err = (&types.Config{Importer: imports}).Check("signpost/"+name, set, parsed, info); err != nil {
			t.Fatal(err)
		}
		for typ, o := range c.scope(t, name) {
			if _, ok := o.(*types.TypeName); ok {
				c.declared[name+"."+typ] = set.Position(o.Pos()).Filename
			}
		}
		for _, f := range parsed {
			c.formats(set, f, info)
		}
		for id, o := range info.Uses {
			if o.Pkg() == nil || !strings.HasPrefix(o.Pkg().Path(), "signpost/") {
				continue
			}
			if names[o.Pkg()] == nil {
				names[o.Pkg()] = namesOf(o.Pkg())
			}
			if name := names[o.Pkg()][o]; name != "" {
				c.uses[name] = append(c.uses[name], set.Position(id.Pos()).Filename)
			}
		}
	}
	return c
}

// formats records uses of the method String. fmt calls this method for an argument whose type is one of this module. Each such argument in
// a call of another module's function counts as a use.
func (c *code) formats(set *token.FileSet, f *ast.File, info *types.Info) {
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		fun, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || info.Uses[fun.Sel] == nil || info.Uses[fun.Sel].Pkg() == nil || strings.HasPrefix(info.Uses[fun.Sel].Pkg().Path(), "signpost/") {
			return true
		}
		for _, arg := range call.Args {
			named, ok := info.Types[arg].Type.(*types.Named)
			if !ok || named.Obj().Pkg() == nil {
				continue
			}
			for m := range named.Methods() {
				if m.Name() == "String" {
					name := strings.TrimPrefix(named.Obj().Pkg().Path(), "signpost/") + "." + named.Obj().Name() + ".String"
					c.uses[name] = append(c.uses[name], set.Position(arg.Pos()).Filename)
				}
			}
		}
		return true
	})
}

// namesOf returns the names of a package: constants, functions, fields of structs, and methods of types.
func namesOf(p *types.Package) map[types.Object]string {
	all := map[types.Object]string{}
	for _, name := range p.Scope().Names() {
		o := p.Scope().Lookup(name)
		full := strings.TrimPrefix(p.Path(), "signpost/") + "." + name
		switch o := o.(type) {
		case *types.Const, *types.Func:
			all[o] = full
		case *types.TypeName:
			if named, ok := o.Type().(*types.Named); ok {
				for m := range named.Methods() {
					all[m] = full + "." + m.Name()
				}
			}
			if s, ok := o.Type().Underlying().(*types.Struct); ok {
				for f := range s.Fields() {
					all[f] = full + "." + f.Name()
				}
			}
		}
	}
	return all
}
