package postfix_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signpost/internal/doctor"
)

// withoutTypes is a script that replaces postmap(1) and postalias(1). For hash and btree, it replies as Postfix 3.11 without Berkeley DB. If there is
// a file no-cdb beside it, it replies for cdb as Postfix 3.10 of Debian without the package postfix-cdb.
const withoutTypes = `#!/bin/sh
for table; do :; done
program=$(basename "$0")
case $table in
hash:* | btree:*)
	echo "$program: fatal: Berkeley DB support for '$table' is not available for this OS distribution; see https://www.postfix.org/NON_BERKELEYDB_README.html for alternatives" >&2
	exit 1
	;;
cdb:*)
	[ -e "$(dirname "$0")/no-cdb" ] || exit 0
	echo "$program: warning: unsupported dictionary type: cdb. Is the postfix-cdb package installed?" >&2
	echo "$program: fatal: unsupported dictionary type: cdb" >&2
	exit 1
	;;
esac
`

// A table whose type is missing in the installed Postfix is red. The Fix uses Postfix's default type, and makes its index.
func TestTableTypes(t *testing.T) {
	bin := t.TempDir()
	for _, program := range []string{"postmap", "postalias"} {
		if err := os.WriteFile(filepath.Join(bin, program), []byte(withoutTypes), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	const version = "mail_version = 3.11.7\n"
	const before = version + "default_database_type = hash\n"
	const readme = "Postfix defers mail that needs this table, or cannot start the service; https://www.postfix.org/NON_BERKELEYDB_README.html describes the migration"
	for _, c := range []struct {
		name, main, master string
		want               []doctor.Finding
	}{
		{name: "supported types", main: "canonical_maps = lmdb:DIR/a, texthash:DIR/b inline:{hash=x}\nvirtual_alias_maps = pipemap:{lmdb:DIR/a, static:x}\n"},
		{name: "virtual", main: before + "virtual_alias_maps = proxy:hash:DIR/virtual hash:DIR/none, texthash:DIR/other\n-- virtual --\n", want: []doctor.Finding{{
			What: "Postfix 3.11.7 cannot open hash:DIR/virtual, hash:DIR/none: it has no Berkeley DB", Where: "main.cf: virtual_alias_maps = proxy:hash:DIR/virtual hash:DIR/none, texthash:DIR/other",
			Why: readme, Fix: "postconf -c 'DIR' -e 'virtual_alias_maps = proxy:lmdb:DIR/virtual lmdb:DIR/none, texthash:DIR/other' && postmap 'lmdb:DIR/virtual'"}}},
		{name: "aliases", main: before + "alias_maps = hash:DIR/aliases\n-- aliases --\n", want: []doctor.Finding{{
			What: "Postfix 3.11.7 cannot open hash:DIR/aliases: it has no Berkeley DB", Where: "main.cf: alias_maps = hash:DIR/aliases", Why: readme,
			Fix: "postconf -c 'DIR' -e 'alias_maps = lmdb:DIR/aliases' && postalias 'lmdb:DIR/aliases'"}}},
		{name: "other default types", main: version + "default_database_type = cdb\ncanonical_maps = hash:DIR/canonical\n-- canonical --\n", want: []doctor.Finding{{
			What: "Postfix 3.11.7 cannot open hash:DIR/canonical: it has no Berkeley DB", Where: "main.cf: canonical_maps = hash:DIR/canonical", Why: readme,
			Fix: "postconf -c 'DIR' -e 'canonical_maps = cdb:DIR/canonical' && postmap 'cdb:DIR/canonical'"}}},
		{name: "a cache of a service", master: "verify unix - - y - 1 verify\n  -o address_verify_map=btree:DIR/verify\n", main: version, want: []doctor.Finding{{
			What: "Postfix 3.11.7 cannot open btree:DIR/verify: it has no Berkeley DB", Where: "master.cf: verify/unix -o address_verify_map=btree:DIR/verify", Why: readme,
			Fix: "postconf -c 'DIR' -P 'verify/unix/address_verify_map=lmdb:DIR/verify'"}}},
		{name: "no package", main: "mail_version = 3.10.13\ncanonical_maps = cdb:DIR/canonical\n", want: []doctor.Finding{{
			What: "Postfix 3.10.13 cannot open cdb:DIR/canonical: the table type is not installed", Where: "main.cf: canonical_maps = cdb:DIR/canonical",
			Why: "Postfix defers mail that needs this table, or cannot start the service", Fix: "apt-get install postfix-cdb"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Contains(c.main, "3.10") {
				if err := os.WriteFile(filepath.Join(bin, "no-cdb"), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			p := postfixCase{main: c.main, master: c.master}.site(t)
			found := notGreen(t, p)
			if len(found) != len(c.want) {
				t.Fatalf("got %+v", found)
			}
			for i, want := range c.want {
				in := strings.NewReplacer("DIR", p.Dir).Replace
				want = doctor.Finding{Check: "table-types", Level: doctor.Red, What: in(want.What), Where: in(want.Where), Why: want.Why, Fix: in(want.Fix)}
				if found[i].Check != want.Check || found[i].Level != want.Level || found[i].What != want.What || found[i].Where != want.Where || found[i].Why != want.Why || found[i].Fix != want.Fix {
					t.Fatalf("got  %+v\nwant %+v", found[i], want)
				}
				if strings.HasPrefix(want.Fix, "postconf") {
					shell(t, want.Fix)
					if after := notGreen(t, p); len(after) > 0 {
						t.Errorf("after the fix: %+v", after)
					}
				}
			}
		})
	}
}
