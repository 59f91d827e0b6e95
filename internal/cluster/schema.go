package cluster

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"signpost/internal/cluster/control"
)

// schemaVersion is the version of the schema that this program writes and needs. Migrations only add, so a program also works with the
// schema of a later version.
const schemaVersion = 4

// lease is the name of the row of the lease.
const leaseName = "rotate"

// migrations returns the statements that lead from each version of the schema to the next. Each can be repeated, because MariaDB commits
// after each of them. BLOB, MEMO and SUFFIX depend on the database.
func migrations() [schemaVersion][]string {
	return [schemaVersion][]string{{
		"CREATE TABLE IF NOT EXISTS sp_site (id SMALLINT NOT NULL PRIMARY KEY, site VARCHAR(32) NOT NULL, schema_version INTEGER NOT NULL, version BIGINT NOT NULL)SUFFIX",
		"CREATE TABLE IF NOT EXISTS sp_key (domain VARCHAR(255) NOT NULL, selector VARCHAR(63) NOT NULL, version BIGINT NOT NULL, key_id VARCHAR(8) NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (domain, selector))SUFFIX",
		"CREATE INDEX IF NOT EXISTS sp_key_version ON sp_key (version)",
		"CREATE TABLE IF NOT EXISTS sp_rule (kind VARCHAR(16) NOT NULL, name VARCHAR(255) NOT NULL, version BIGINT NOT NULL, key_id VARCHAR(8) NOT NULL, body MEMO NOT NULL, mac VARCHAR(64) NOT NULL, PRIMARY KEY (kind, name))SUFFIX",
		"CREATE INDEX IF NOT EXISTS sp_rule_version ON sp_rule (version)",
		"CREATE TABLE IF NOT EXISTS sp_host (name VARCHAR(64) NOT NULL PRIMARY KEY, version BIGINT NOT NULL, key_ids VARCHAR(255) NOT NULL, program VARCHAR(40) NOT NULL, clock BIGINT NOT NULL, seen BIGINT NOT NULL, seq BIGINT NOT NULL, mac VARCHAR(64) NOT NULL)SUFFIX",
	}, {
		"CREATE TABLE IF NOT EXISTS sp_lease (name VARCHAR(16) NOT NULL PRIMARY KEY, holder VARCHAR(64) NOT NULL, epoch BIGINT NOT NULL, until BIGINT NOT NULL, wanted VARCHAR(64) NOT NULL, mac VARCHAR(64) NOT NULL)SUFFIX",
	}, {
		// Rows are deleted by host and id. A search reads one of the indexes from its end, for each outcome, and needs no other column.
		"CREATE TABLE IF NOT EXISTS sp_message (host VARCHAR(64) NOT NULL, id BIGINT NOT NULL, key_id VARCHAR(8) NOT NULL, queue BIGINT NOT NULL, mid BIGINT NOT NULL, domain BIGINT NOT NULL, client BIGINT NOT NULL, net BIGINT NOT NULL, outcome BIGINT NOT NULL, entry BLOB NOT NULL, PRIMARY KEY (host, id))SUFFIX",
		"CREATE INDEX IF NOT EXISTS sp_message_queue ON sp_message (queue)",
		"CREATE INDEX IF NOT EXISTS sp_message_mid ON sp_message (mid)",
		"CREATE INDEX IF NOT EXISTS sp_message_domain ON sp_message (domain, outcome, id, host)",
		"CREATE INDEX IF NOT EXISTS sp_message_client ON sp_message (client, outcome, id, host, domain)",
		"CREATE INDEX IF NOT EXISTS sp_message_net ON sp_message (net, outcome, id, host, domain)",
		"CREATE INDEX IF NOT EXISTS sp_message_outcome ON sp_message (outcome, id, host)",
		"CREATE TABLE IF NOT EXISTS sp_outcome (id BIGINT NOT NULL PRIMARY KEY, words VARCHAR(100) NOT NULL)SUFFIX",
	}, {
		"CREATE TABLE IF NOT EXISTS sp_report (kind VARCHAR(16) NOT NULL, day VARCHAR(10) NOT NULL, name VARCHAR(255) NOT NULL, host VARCHAR(64) NOT NULL, part INTEGER NOT NULL, written BIGINT NOT NULL, key_id VARCHAR(8) NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (kind, day, name, host, part))SUFFIX",
		"CREATE INDEX IF NOT EXISTS sp_report_written ON sp_report (written)",
	}}
}

// Table is a table and the rights that the hosts need.
type Table struct{ Name, Rights string }

// Tables returns the tables, for GRANT.
func Tables() (all []Table) {
	for _, name := range []string{"sp_site", "sp_key", "sp_rule", "sp_host", "sp_lease", "sp_outcome"} {
		all = append(all, Table{name, "SELECT, INSERT, UPDATE"})
	}
	for _, name := range []string{"sp_message", "sp_report"} {
		all = append(all, Table{name, "SELECT, INSERT, UPDATE, DELETE"})
	}
	return all
}

// Init creates the tables, or migrates those of an earlier version. The database user must own them. Init reports whether the cluster is
// new. It can be repeated.
func (d *DB) Init(ctx context.Context, k *SiteKeys) (created bool, err error) {
	s := d.session()
	for _, sql := range migrations()[0] {
		if err := s.create(ctx, sql); err != nil {
			return false, err
		}
	}
	if _, ok, err := s.site(ctx); err != nil {
		return false, err
	} else if !ok {
		created = true
		if _, err := s.exec(ctx, "INSERT INTO sp_site (id, site, schema_version, version) VALUES (1, ?, 1, 0)", strings.ToLower(rand.Text())); err != nil {
			return false, err
		}
	}
	site, _, err := s.site(ctx)
	if err != nil {
		return created, err
	}
	for v := site.schema; v < schemaVersion; v++ {
		for _, sql := range migrations()[v] {
			if err := s.create(ctx, sql); err != nil {
				return created, err
			}
		}
		if _, err := s.exec(ctx, "UPDATE sp_site SET schema_version = ? WHERE id = 1 AND schema_version = ?", v+1, v); err != nil {
			return created, err
		}
	}
	if _, ok, err := s.lease(ctx, k, site.id); errors.Is(err, errForged) {
		return created, stop(KeyFile, "copy the site key from another host, and run signpost cluster join", "the database belongs to a cluster with another site key")
	} else if err != nil || ok {
		return created, err
	}
	_, err = s.exec(ctx, "INSERT INTO sp_lease (name, holder, epoch, until, wanted, mac) VALUES (?, '', 0, 0, '', ?)", leaseName, k.newest().leaseMAC(site.id, "", 0))
	return created, err
}

func (s session) create(ctx context.Context, statement string) error {
	_, err := s.exec(ctx, s.typed(statement))
	return err
}

// typed returns a statement of a migration with the types of the database.
func (d dialect) typed(statement string) string {
	return strings.NewReplacer("BLOB", d.blob, "MEMO", d.text, "SUFFIX", d.suffix).Replace(statement)
}

// siteRow is the row of sp_site.
type siteRow struct {
	id      string // the identifier of the cluster
	schema  int
	version int64 // the counter
}

// site reads the row of sp_site. ok is false if there is none.
func (s session) site(ctx context.Context) (r siteRow, ok bool, err error) {
	ok, err = s.one(ctx, "SELECT site, schema_version, version FROM sp_site WHERE id = 1", nil, &r.id, &r.schema, &r.version)
	return r, ok, err
}

// current is like site, but returns an error if this program cannot work with the schema.
func (s session) current(ctx context.Context) (siteRow, error) {
	r, ok, err := s.site(ctx)
	switch {
	case err != nil:
		return r, err
	case !ok || r.schema < schemaVersion:
		return r, stop(NotInitialized, "run signpost cluster init on this host", "the database has no tables of version %d for a cluster", schemaVersion)
	}
	return r, nil
}

// write calls do in a transaction that writes n rows. do gets the version of the first row; the others follow it. The counter is updated
// first. Its row lock serializes all writers, so versions become visible in their order.
func (d *DB) write(ctx context.Context, site string, n int64, do func(s session, first int64) error) error {
	return d.transaction(ctx, sql.LevelReadCommitted, false, func(s session) error {
		if _, err := s.exec(ctx, "UPDATE sp_site SET version = version + ? WHERE id = 1", n); err != nil {
			return err
		}
		r, err := s.current(ctx)
		if err != nil {
			return err
		}
		if r.id != site {
			return otherSite(site, r.id)
		}
		return do(s, r.version-n+1)
	})
}

// Reason is why a host has stopped synchronizing.
type Reason string

// The reasons.
const (
	NotInitialized Reason = "not_initialized" // the database has no tables, or those of an earlier version
	NotJoined      Reason = "not_joined"      // this host was never registered
	OtherSite      Reason = "other_site"      // the database belongs to another cluster
	Restored       Reason = "restored"        // the counter is lower than the version of this host
	Left           Reason = "left"            // this host was removed from the cluster
	NoKeys         Reason = "no_keys"         // the keys directory is missing or empty
	KeyFile        Reason = "key_file"        // the file of the site keys cannot be used
	NameTaken      Reason = "name_taken"      // another host uses the name of this host
	TooMany        Reason = "too_many"        // too many rows are refused, or the rows are too large
	NotLeader      Reason = "not_leader"      // another host holds the lease
)

// Stop is the error of a host that does not continue until the operator acts.
type Stop struct {
	Reason  Reason
	Refusal *control.Refusal
}

func (e *Stop) Error() string { return e.Refusal.Error() }
func (e *Stop) Unwrap() error { return e.Refusal }

func stop(r Reason, hint, format string, args ...any) *Stop {
	return &Stop{r, &control.Refusal{Failure: control.Failure{Error: fmt.Sprintf(format, args...), Hint: hint}}}
}

func otherSite(want, got string) *Stop {
	return stop(OtherSite, "check cluster.database; to leave the former cluster, run signpost cluster join", "the database belongs to cluster %s, but this host to %s", got, want)
}
