package host

import (
	"context"
	"fmt"
	"os"
	"strings"

	"signpost/internal/doctor"
)

// Tables describes domains.tables.
type Tables struct {
	Names []string
	// Ask looks up a key in a table, through the server that the daemon queries. nil: lookups are not checked.
	Ask func(ctx context.Context, table string) error
	// Unkeyed has the domains of the last 7 days that are in a table and have no key. The journal names them.
	Unkeyed []string
}

// tablesGroup is the supplementary group of the table server: signpost-tables.service.
const tablesGroup = "postfix"

// tables checks that each table answers, and reports listed domains without a key.
func (m *machine) tables(ctx context.Context) (found []doctor.Finding) {
	if len(m.Tables.Names) == 0 {
		return nil
	}
	if m.Tables.Ask != nil {
		for _, table := range m.Tables.Names {
			if err := m.Tables.Ask(ctx, table); err != nil {
				found = append(found, doctor.Finding{Level: doctor.Red, What: "lookups in " + table + " fail", Where: err.Error(),
					Why: "outbound mail of a domain without a key gets 451 if there is no older answer", Fix: tableFix(table)})
			}
		}
	}
	for _, name := range m.Tables.Unkeyed {
		found = append(found, doctor.Finding{Level: doctor.Yellow, What: name + " is in a table of domains.tables, but has no key", Where: "journal: messages of the last 7 days with code listed_no_key",
			Why: "its mail is sent unsigned", Fix: "dkimkey add " + name, Domain: name, Cause: "a listed domain has no key"})
	}
	if len(found) == 0 {
		found = []doctor.Finding{{Level: doctor.Green, What: "each table of domains.tables answers, and each listed domain that sent mail has a key"}}
	}
	return found
}

// tableFix returns the command that probably makes lookups in a table succeed. If group postfix cannot read the file of the table, the command
// changes the group and mode of the file.
func tableFix(table string) string {
	kind, file, _ := strings.Cut(table, ":")
	if kind == "socketmap" { // another server
		return "signpost tables lookup " + doctor.Quote(table) + " example.org"
	}
	if fi, err := os.Stat(file); strings.HasPrefix(file, "/") && err == nil {
		if p := doctor.PermissionsOf(fi); p.Mode.Perm()&0o004 == 0 && (doctor.GroupName(p.GID) != tablesGroup || p.Mode.Perm()&0o040 == 0) {
			return fmt.Sprintf("chgrp %s %s && chmod 0640 %[2]s", tablesGroup, doctor.Quote(file))
		}
	}
	return "systemctl restart signpost-tables && signpost tables lookup " + doctor.Quote(table) + " example.org"
}
