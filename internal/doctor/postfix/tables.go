package postfix

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"signpost/internal/doctor"
)

// tableTypes finds indexed tables whose type is missing in this Postfix. Postfix without Berkeley DB has neither hash nor btree. On Debian,
// lmdb and cdb are in separate packages before Postfix 3.11.
func (l *site) tableTypes(ctx context.Context) (found []doctor.Finding) {
	// The defaults of parameters that no service uses do not matter.
	out, err := l.postconf.run(ctx, "-n", "-x")
	if err != nil {
		return nil
	}
	checked := map[string]bool{} // by type: whether Postfix lacks it
	lacks := func(kind string) bool {
		if _, ok := checked[kind]; !ok {
			checked[kind] = l.lacksType(ctx, kind)
		}
		return checked[kind]
	}
	for line := range strings.Lines(out) {
		name, _, _ := strings.Cut(line, "=")
		found = append(found, l.missingTypes(nil, strings.TrimSpace(name), lacks)...)
	}
	for i := range l.postconf.services {
		s := &l.postconf.services[i]
		for _, name := range slices.Sorted(maps.Keys(s.over)) {
			found = append(found, l.missingTypes(s, name, lacks)...)
		}
	}
	return found
}

// lacksType reports whether Postfix does not support a table type. It makes an index of an empty file in a directory of its own. The output of
// postconf -m is not sufficient, because Postfix 3.11 without Berkeley DB lists hash and btree, and may redirect them to other types
// (non_bdb_migration_level).
func (l *site) lacksType(ctx context.Context, kind string) bool {
	path, err := admin("postmap")
	if err != nil {
		return false
	}
	dir, err := os.MkdirTemp("", "signpost-doctor")
	if err != nil {
		return false
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "empty")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return false
	}
	args := []string{kind + ":" + file}
	if l.Dir != "" {
		args = append([]string{"-c", l.Dir}, args...)
	}
	var exit *exec.ExitError
	return errors.As(exec.CommandContext(ctx, path, args...).Run(), &exit) && exit.Exited()
}

// missingTypes finds the tables in the value of a parameter whose types Postfix lacks.
func (l *site) missingTypes(s *service, name string, lacks func(kind string) bool) []doctor.Finding {
	var tables, packages, indexes []string
	value := regexp.MustCompile(`\b(hash|btree|lmdb|cdb):[^\s,{}]+`).ReplaceAllStringFunc(l.postconf.get(s, name), func(table string) string {
		kind, file, _ := strings.Cut(table, ":")
		if !lacks(kind) {
			return table
		}
		tables = append(tables, table)
		if kind == "lmdb" || kind == "cdb" {
			packages = append(packages, "postfix-"+kind)
			return table
		}
		successor, index := l.postconf.successor(kind)+":"+file, "postmap "
		if name == "alias_maps" || name == "alias_database" {
			index = "postalias "
		}
		if _, err := os.Stat(file); err == nil { // a cache has no source file
			indexes = append(indexes, " && "+index+doctor.Quote(successor))
		}
		return successor
	})
	if len(tables) == 0 {
		return nil
	}
	f := doctor.Finding{Level: doctor.Red, What: "Postfix " + l.postconf.main["mail_version"] + " cannot open " + strings.Join(tables, ", ") + ": ", Where: l.postconf.where(s, name),
		Why: "Postfix defers mail that needs this table, or cannot start the service"}
	if len(packages) > 0 {
		slices.Sort(packages)
		f.What += "the table type is not installed"
		f.Fix = "apt-get install " + strings.Join(slices.Compact(packages), " ")
		return []doctor.Finding{f}
	}
	f.What += "it has no Berkeley DB"
	f.Why += "; https://www.postfix.org/NON_BERKELEYDB_README.html describes the migration"
	f.Fix = l.postconf.setAt(s, name, value) + strings.Join(indexes, "")
	return []doctor.Finding{f}
}

// successor returns the table type that replaces a type of Berkeley DB: Postfix's default, or lmdb if the default is such a type too.
func (p *postconf) successor(kind string) string {
	parameter := "default_database_type"
	if kind == "btree" {
		parameter = "default_cache_db_type" // Postfix 3.11
	}
	if t := p.main[parameter]; !slices.Contains([]string{"", "hash", "btree"}, t) {
		return t
	}
	return "lmdb"
}
