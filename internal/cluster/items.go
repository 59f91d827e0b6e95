package cluster

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"signpost/internal/cluster/control"
)

// A row of sp_report is an item: its body is sealed with AES-256-GCM under a key of its kind and day. The identity of the item and the site
// are the associated data, so a row is valid only in its place. Someone who can write to the database can put back an older body of an item that
// changes; the hosts never return to an earlier state because of it.

const (
	// itemsPage and itemsPageBytes limit one page of items.
	itemsPage, itemsPageBytes = 500, 4 << 20
	// itemRows is the number of rows of one INSERT, and itemBytes the size of the bodies after which it ends.
	itemRows, itemBytes = 100, 1 << 20
	// forgotten is the time after which a suppression that was not written again is deleted: the longest one has a year, and is forgotten a
	// year later.
	forgotten = 2 * 366 * 24 * time.Hour
	// expireItemRows is the number of rows that one statement deletes.
	expireItemRows = 1000
)

// itemAccess is what a registered host needs for items.
type itemAccess struct {
	site string
	keys *SiteKeys
	seal siteKey
}

// items returns an error if this host is not registered, or if its last synchronization has stopped it: after the database was restored, it must
// not make reports again.
func (h *Host) items(ctx context.Context) (a itemAccess, err error) {
	end, err := h.begin(ctx)
	if err != nil {
		return a, err
	}
	defer end()
	if err := h.ready(); err != nil {
		return a, err
	}
	if h.stopped != nil {
		return a, h.stopped
	}
	return itemAccess{h.state.Site, h.keys, h.sealKey()}, nil
}

// Items returns what answers the requests about items.
func (h *Host) Items() control.ItemServer {
	return control.ItemServer{Put: h.putItems, List: h.listItems, Changed: h.changedItems, Expire: h.expireItems, BounceKey: h.bounceKey}
}

func (h *Host) bounceKey(ctx context.Context) (string, error) {
	a, err := h.items(ctx)
	return hex.EncodeToString(a.seal.bounces), err
}

// itemAEAD returns the key of the items of a kind and a day. A random nonce is safe for 2^32 items under one key.
func (k siteKey) itemAEAD(i control.Item) (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, k.items, string(fields("item", string(i.Kind), i.Day)), siteKeyBytes)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func itemPlace(site string, i control.Item) []byte {
	return fields("item", site, string(i.Kind), i.Day, i.Name, i.Host, number(int64(i.Part)))
}

func (a itemAccess) open(i control.Item, keyID string, sealed []byte) (control.Item, error) {
	key, err := a.keys.find(keyID)
	if err != nil {
		return i, err
	}
	aead, err := key.itemAEAD(i)
	if err != nil {
		return i, err
	}
	if i.Body, err = aead.Open(nil, nil, sealed, itemPlace(a.site, i)); err != nil {
		return i, errForged
	}
	return i, nil
}

// putItems writes items. See control.Client.PutItems.
func (h *Host) putItems(ctx context.Context, items []control.Item) (stored []control.Item, err error) {
	a, err := h.items(ctx)
	if err != nil {
		return nil, err
	}
	s := h.DB.session()
	for i := range items {
		items[i].Host = ""
		if items[i].Kind.Own() {
			items[i].Host = h.Name
		}
	}
	for _, once := range []bool{false, true} {
		var rows []control.Item
		size := 0
		flush := func() error {
			if len(rows) == 0 {
				return nil
			}
			err := s.putItems(ctx, a, rows, once)
			rows, size = nil, 0
			return err
		}
		for _, i := range items {
			if i.Kind.Once() != once {
				continue
			}
			rows, size = append(rows, i), size+len(i.Body)
			if len(rows) == itemRows || size >= itemBytes {
				if err := flush(); err != nil {
					return nil, err
				}
			}
		}
		if err := flush(); err != nil {
			return nil, err
		}
	}
	for _, i := range items {
		if !i.Kind.Once() {
			continue
		}
		var keyID string
		var sealed []byte
		ok, err := s.one(ctx, "SELECT key_id, sealed FROM sp_report WHERE kind = ? AND day = ? AND name = ? AND host = ? AND part = ?", []any{i.Kind, i.Day, i.Name, i.Host, i.Part}, &keyID, &sealed)
		if err == nil && ok {
			i, err = a.open(i, keyID, sealed)
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("a row of the database was refused: sp_report %s %s %s: %w", i.Kind, i.Day, i.Name, err)
		case !ok:
			return nil, fmt.Errorf("a row of the database disappeared: sp_report %s %s %s", i.Kind, i.Day, i.Name)
		}
		stored = append(stored, i)
	}
	return stored, nil
}

// putItems writes rows with one statement. If once is true, rows that exist stay as they are.
func (s session) putItems(ctx context.Context, a itemAccess, items []control.Item, once bool) error {
	var args []any
	for _, i := range items {
		aead, err := a.seal.itemAEAD(i)
		if err != nil {
			return err
		}
		args = append(args, i.Kind, i.Day, i.Name, i.Host, i.Part, a.seal.id, aead.Seal(nil, nil, i.Body, itemPlace(a.site, i)))
	}
	row := "(?, ?, ?, ?, ?, " + s.now + ", ?, ?)"
	query := "INSERT INTO sp_report (kind, day, name, host, part, written, key_id, sealed) VALUES " + strings.Repeat(row+", ", len(items)-1) + row
	switch {
	case s.numbered && once:
		query += " ON CONFLICT DO NOTHING"
	case s.numbered:
		query += " ON CONFLICT (kind, day, name, host, part) DO UPDATE SET written = excluded.written, key_id = excluded.key_id, sealed = excluded.sealed"
	case once:
		query += " ON DUPLICATE KEY UPDATE part = part"
	default:
		query += " ON DUPLICATE KEY UPDATE written = VALUES(written), key_id = VALUES(key_id), sealed = VALUES(sealed)"
	}
	_, err := s.exec(ctx, query, args...)
	return err
}

// page reads a page of items.
func (a itemAccess) page(ctx context.Context, s session, query string, args ...any) (p control.Items, err error) {
	size, rows := 0, 0
	p.Items = []control.Item{}
	err = s.each(ctx, func(scan func(...any) error) error {
		if p.More = p.More || rows == itemsPage || size >= itemsPageBytes; p.More {
			return nil
		}
		var i control.Item
		var keyID string
		var sealed []byte
		var written int64
		if err := scan(&i.Kind, &i.Day, &i.Name, &i.Host, &i.Part, &written, &keyID, &sealed); err != nil {
			return err
		}
		rows, size = rows+1, size+len(sealed)
		p.After = control.Cursor{Written: written, Last: i}
		if i, err := a.open(i, keyID, sealed); err != nil {
			p.Refused++
		} else {
			p.Items = append(p.Items, i)
		}
		return nil
	}, "SELECT kind, day, name, host, part, written, key_id, sealed FROM sp_report WHERE "+query+" LIMIT ?", append(args, itemsPage+1)...)
	return p, err
}

func (h *Host) listItems(ctx context.Context, after control.Item) (p control.Items, err error) {
	a, err := h.items(ctx)
	if err != nil {
		return p, err
	}
	return a.page(ctx, h.DB.session(), "kind = ? AND day = ? AND name >= ? AND (name > ? OR host > ? OR host = ? AND part > ?) ORDER BY name, host, part",
		after.Kind, after.Day, after.Name, after.Name, after.Host, after.Host, after.Part)
}

func (h *Host) changedItems(ctx context.Context, after control.Cursor, kinds []control.Kind) (p control.Items, err error) {
	a, err := h.items(ctx)
	if err != nil {
		return p, err
	}
	args := []any{after.Written, after.Written, after.Last.Kind, after.Last.Day, after.Last.Name, after.Last.Host, after.Last.Part}
	for _, k := range kinds {
		args = append(args, k)
	}
	return a.page(ctx, h.DB.session(), "written >= ? AND (written > ? OR (kind, day, name, host, part) > (?, ?, ?, ?, ?)) AND kind IN (?"+strings.Repeat(", ?", len(kinds)-1)+") ORDER BY written, kind, day, name, host, part", args...)
}

// resealItems seals the items with a key. It returns their number.
func (h *Host) resealItems(ctx context.Context, key siteKey) (n int, err error) {
	a, s := itemAccess{h.state.Site, h.keys, key}, h.DB.session()
	var at control.Cursor
	for {
		page, err := a.page(ctx, s, "key_id <> ? AND written >= ? AND (written > ? OR (kind, day, name, host, part) > (?, ?, ?, ?, ?)) ORDER BY written, kind, day, name, host, part",
			key.id, at.Written, at.Written, at.Last.Kind, at.Last.Day, at.Last.Name, at.Last.Host, at.Last.Part)
		if err != nil {
			return n, err
		}
		for _, i := range page.Items {
			aead, err := key.itemAEAD(i)
			if err != nil {
				return n, err
			}
			_, err = s.exec(ctx, "UPDATE sp_report SET key_id = ?, sealed = ? WHERE kind = ? AND day = ? AND name = ? AND host = ? AND part = ? AND key_id <> ?",
				key.id, aead.Seal(nil, nil, i.Body, itemPlace(h.state.Site, i)), i.Kind, i.Day, i.Name, i.Host, i.Part, key.id)
			if err != nil {
				return n, err
			}
			n++
		}
		if at = page.After; !page.More {
			return n, nil
		}
	}
}

const (
	// reportsInterval is the time between two queries of the state of the reports.
	reportsInterval = 5 * time.Minute
	// reportsTime is the time after the end of a day at which a host that has not shipped its counts is late.
	reportsTime = 3 * time.Hour
)

// readReports reads the state of the reports for the status. The names of hosts in the rows are not authenticated: only hosts of the cluster
// count.
func (h *Host) readReports(ctx context.Context) error {
	now := h.Now()
	if now.Sub(h.reportsAt).Abs() < reportsInterval {
		return nil
	}
	day := now.Add(-reportsTime).UTC().AddDate(0, 0, -1).Format(time.DateOnly)
	s, r := h.DB.session(), &control.Reports{Day: day, Hosts: []string{}, Late: []string{}}
	members := h.state.members()
	err := s.each(ctx, func(scan func(...any) error) error {
		var name, latest string
		err := scan(&name, &latest)
		if !slices.Contains(members, name) {
			return err
		}
		if r.Hosts = append(r.Hosts, name); latest < day {
			r.Late = append(r.Late, name)
		}
		return err
	}, "SELECT host, MAX(CASE WHEN name = ? THEN day ELSE '' END) FROM sp_report WHERE kind = ? GROUP BY host ORDER BY host", control.NameComplete, string(control.KindShipped))
	if err == nil {
		_, err = s.one(ctx, "SELECT COUNT(*) FROM sp_report WHERE kind = ? AND day = ?", []any{string(control.KindReport), day}, &r.Made)
	}
	if err != nil {
		return err
	}
	if h.reports, h.reportsAt = r, now; len(r.Hosts) == 0 {
		h.reports = nil
	}
	return nil
}

// expireItems deletes items. See control.Client.ExpireItems. A suppression has no day: it is deleted after the time forgotten.
func (h *Host) expireItems(ctx context.Context, before time.Time, kinds []control.Kind) error {
	if _, err := h.items(ctx); err != nil {
		return err
	}
	s := h.DB.session()
	for _, kind := range kinds {
		var err error
		if kind == control.KindSuppression {
			_, err = s.exec(ctx, "DELETE FROM sp_report WHERE kind = ? AND written < "+s.now+" - ?", kind, forgotten.Milliseconds())
		} else {
			err = s.expire(ctx, kind, before.UTC().Format(time.DateOnly))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// expire deletes the items of a kind about days before a day.
func (s session) expire(ctx context.Context, kind control.Kind, before string) error {
	for {
		var day, last string
		ok, err := s.one(ctx, "SELECT day FROM sp_report WHERE kind = ? AND day < ? ORDER BY day LIMIT 1", []any{kind, before}, &day)
		if err != nil || !ok {
			return err
		}
		args := []any{kind, day}
		more, err := s.one(ctx, "SELECT name FROM sp_report WHERE kind = ? AND day = ? ORDER BY name LIMIT 1 OFFSET ?", append(args, expireItemRows), &last)
		if err != nil {
			return err
		}
		query := "DELETE FROM sp_report WHERE kind = ? AND day = ?"
		if more {
			query, args = query+" AND name <= ?", append(args, last)
		}
		if _, err := s.exec(ctx, query, args...); err != nil {
			return err
		}
	}
}
