package cluster

import (
	"context"
	"database/sql"
	"strings"
)

const (
	// batch is the number of rows that one query reads.
	batch = 200
	// maxHosts is the number of rows of hosts that are read.
	maxHosts = 10_000
	// maxRead is the size in bytes of the rows of one table that one synchronization reads. 10,000 RSA keys need about 30 MB.
	maxRead = 512 << 20
	// rowBytes is the size in bytes of the small columns of a row, at most.
	rowBytes = 512
)

// size adds the sizes of rows.
type size int

// add returns a *Stop if the rows are too large together.
func (s *size) add(n int) error {
	if *s += size(n + rowBytes); *s > maxRead {
		return stop(TooMany, "docs/cluster.md, \"If a row is refused\"", "the rows of the database have more than %d MiB", maxRead>>20)
	}
	return nil
}

// keyRow is a row of sp_key.
type keyRow struct {
	id      keyID
	version int64
	siteKey string
	sealed  []byte
}

// keyColumns reads a row that is larger than the files of a key can be as an empty row, which does not verify.
const keyColumns = "SELECT domain, selector, version, key_id, CASE WHEN OCTET_LENGTH(sealed) <= 2097152 THEN sealed ELSE '' END FROM sp_key"

func (r *keyRow) dest() []any {
	return []any{&r.id.domain, &r.id.selector, &r.version, &r.siteKey, &r.sealed}
}

// keysAfter reads the rows of keys with a version above after, in the order of their versions.
func (s session) keysAfter(ctx context.Context, after int64) (all []keyRow, err error) {
	var read size
	for n := batch; n == batch; {
		n = 0
		err := s.each(ctx, func(scan func(...any) error) error {
			n++
			var r keyRow
			if err := scan(r.dest()...); err != nil {
				return err
			}
			all, after = append(all, r), r.version
			return read.add(len(r.sealed))
		}, keyColumns+" WHERE version > ? ORDER BY version LIMIT ?", after, batch)
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// key reads one row; ok is false if there is none.
func (s session) key(ctx context.Context, id keyID) (r keyRow, ok bool, err error) {
	ok, err = s.one(ctx, keyColumns+" WHERE domain = ? AND selector = ?", []any{id.domain, id.selector}, r.dest()...)
	return r, ok, err
}

// putKey writes a row, if the version of the present row is base; 0: if there is none. ok is false if it is not.
func (s session) putKey(ctx context.Context, base int64, r keyRow) (ok bool, err error) {
	var now int64
	found, err := s.one(ctx, "SELECT version FROM sp_key WHERE domain = ? AND selector = ?", []any{r.id.domain, r.id.selector}, &now)
	if err != nil || now != base {
		return false, err
	}
	if !found {
		_, err = s.exec(ctx, "INSERT INTO sp_key (domain, selector, version, key_id, sealed) VALUES (?, ?, ?, ?, ?)", r.id.domain, r.id.selector, r.version, r.siteKey, r.sealed)
		return err == nil, err
	}
	n, err := s.exec(ctx, "UPDATE sp_key SET version = ?, key_id = ?, sealed = ? WHERE domain = ? AND selector = ? AND version = ?", r.version, r.siteKey, r.sealed, r.id.domain, r.id.selector, base)
	return n == 1, err
}

// ruleRow is a row of sp_rule.
type ruleRow struct {
	id      RuleID
	version int64
	siteKey string
	body    string
	mac     string
}

const ruleColumns = "SELECT kind, name, version, key_id, CASE WHEN OCTET_LENGTH(body) <= 2097152 THEN body ELSE '' END, mac FROM sp_rule"

func (r *ruleRow) dest() []any {
	return []any{&r.id.Kind, &r.id.Name, &r.version, &r.siteKey, &r.body, &r.mac}
}

// check returns errUnknownKey or errForged if the row does not verify.
func (r ruleRow) check(k *SiteKeys, site string) error {
	if _, err := k.find(r.siteKey); err != nil {
		return err
	}
	if !k.verify(r.mac, func(key siteKey) string { return key.ruleMAC(site, r.id, r.version, r.body) }) {
		return errForged
	}
	return nil
}

func (s session) rulesAfter(ctx context.Context, after int64) (all []ruleRow, err error) {
	var read size
	for n := batch; n == batch; {
		n = 0
		err := s.each(ctx, func(scan func(...any) error) error {
			n++
			var r ruleRow
			if err := scan(r.dest()...); err != nil {
				return err
			}
			all, after = append(all, r), r.version
			return read.add(len(r.body))
		}, ruleColumns+" WHERE version > ? ORDER BY version LIMIT ?", after, batch)
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (s session) rule(ctx context.Context, id RuleID) (r ruleRow, ok bool, err error) {
	ok, err = s.one(ctx, ruleColumns+" WHERE kind = ? AND name = ?", []any{id.Kind, id.Name}, r.dest()...)
	return r, ok, err
}

// putRule is like putKey.
func (s session) putRule(ctx context.Context, base int64, r ruleRow) (ok bool, err error) {
	var now int64
	found, err := s.one(ctx, "SELECT version FROM sp_rule WHERE kind = ? AND name = ?", []any{r.id.Kind, r.id.Name}, &now)
	if err != nil || now != base {
		return false, err
	}
	if !found {
		_, err = s.exec(ctx, "INSERT INTO sp_rule (kind, name, version, key_id, body, mac) VALUES (?, ?, ?, ?, ?, ?)", r.id.Kind, r.id.Name, r.version, r.siteKey, r.body, r.mac)
		return err == nil, err
	}
	n, err := s.exec(ctx, "UPDATE sp_rule SET version = ?, key_id = ?, body = ?, mac = ? WHERE kind = ? AND name = ? AND version = ?", r.version, r.siteKey, r.body, r.mac, r.id.Kind, r.id.Name, base)
	return n == 1, err
}

// hostRow is a row of sp_host.
type hostRow struct {
	name    string
	version int64  // the host has all keys up to this version
	keyIDs  string // the IDs of its site keys, separated by spaces
	program string
	clock   int64 // its time, in ms
	seen    int64 // the time of the database, in ms
	seq     int64
	mac     string
	valid   bool
}

func (r hostRow) ids() []string { return strings.Fields(r.keyIDs) }

// hostRows reads all rows of hosts by name, and the time of the database in ms. The time is 0 if there are no rows.
func (s session) hostRows(ctx context.Context, k *SiteKeys, site string) (all map[string]hostRow, now int64, err error) {
	all = map[string]hostRow{}
	err = s.each(ctx, func(scan func(...any) error) error {
		var r hostRow
		err := scan(&r.name, &r.version, &r.keyIDs, &r.program, &r.clock, &r.seen, &r.seq, &r.mac, &now)
		r.valid = k.verify(r.mac, func(key siteKey) string { return key.hostMAC(site, r) })
		all[r.name] = r
		return err
	}, "SELECT name, version, key_ids, program, clock, seen, seq, mac, "+s.now+" FROM sp_host ORDER BY name LIMIT ?", maxHosts)
	return all, now, err
}

// putHost writes the row of this host, unless the number of the present row is higher than base: another process has written it. ok is false
// then. The number is lower if the database was restored.
func (s session) putHost(ctx context.Context, base int64, r hostRow) (ok bool, err error) {
	n, err := s.exec(ctx, "UPDATE sp_host SET version = ?, key_ids = ?, program = ?, clock = ?, seen = "+s.now+", seq = ?, mac = ? WHERE name = ? AND seq <= ?",
		r.version, r.keyIDs, r.program, r.clock, r.seq, r.mac, r.name, base)
	if err != nil || n == 1 {
		return n == 1, err
	}
	var seq int64
	found, err := s.one(ctx, "SELECT seq FROM sp_host WHERE name = ?", []any{r.name}, &seq)
	if err != nil || found {
		return false, err
	}
	_, err = s.exec(ctx, "INSERT INTO sp_host (name, version, key_ids, program, clock, seen, seq, mac) VALUES (?, ?, ?, ?, ?, "+s.now+", ?, ?)",
		r.name, r.version, r.keyIDs, r.program, r.clock, r.seq, r.mac)
	return err == nil, err
}

// snapshot calls do in a transaction in which all queries see the same rows.
func (d *DB) snapshot(ctx context.Context, do func(s session) error) error {
	return d.transaction(ctx, sql.LevelRepeatableRead, true, do)
}
