package cluster

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"signpost/keys"
)

// local is what this host has.
type local struct {
	domains   map[string]bool     // with keys, rows of keys, or rules
	known     map[string][]string // the selectors of each domain that have rows
	removed   map[string]bool     // the domains with a file in STATE_DIR/removed
	hosted    map[string]bool
	hasHosted bool // the directory exists
}

// scan reads the files of this host. It returns a *Stop if the keys directory is missing or empty although there are keys: it may have been
// moved, or its file system is not mounted. This must not look like the removal of all domains.
func (h *Host) scan() (l local, err error) {
	l.domains, l.known, l.removed = map[string]bool{}, map[string][]string{}, map[string]bool{}
	live := ""
	for id, k := range h.state.Keys {
		l.domains[id.domain] = true
		if !k.Deleted {
			l.known[id.domain] = append(l.known[id.domain], id.selector)
		}
		if k.Deleted || live != "" {
			continue
		}
		if removed, err := h.removal(id.domain); err != nil {
			return l, err
		} else if !removed {
			live = id.domain
		}
	}
	files, err := h.Store.Files(h.files)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return l, err
	}
	if (err != nil || len(files.Names()) == 0) && live != "" {
		return l, stop(NoKeys, "mount or restore the directory; to fetch all keys from the database instead, run signpost cluster join",
			"the keys directory %s is missing or empty, but this host had keys of %s", h.Store.Dir, live)
	}
	if err != nil {
		files = &keys.FileSet{}
	}
	h.files = files
	for _, d := range files.Names() {
		l.domains[d] = true
	}
	if l.hosted, err = h.Store.Hosted(); err != nil {
		return l, err
	}
	_, statErr := os.Stat(filepath.Join(h.Store.State, "hosted"))
	l.hasHosted = statErr == nil
	for d := range l.hosted {
		l.domains[d] = true
	}
	removed, err := h.Store.RemovedFiles()
	for _, d := range removed {
		l.domains[d], l.removed[d] = true, true
	}
	for id := range h.state.Rules {
		if id.Kind == kindHosted || id.Kind == kindRemoved {
			l.domains[id.Name] = true
		}
	}
	return l, err
}

// changesOf returns the changes of a domain. It restores files that are missing on this host.
func (h *Host) changesOf(ctx context.Context, name string, l local) (changes []change, err error) {
	files, ok := h.files.Of(name)
	if !ok {
		return nil, nil // another command is at work
	}
	removed := false
	if l.removed[name] {
		if removed, err = h.removal(name); err != nil {
			return nil, err
		}
	}
	for _, selector := range slices.Sorted(maps.Keys(files)) {
		c, err := h.changeOf(ctx, files[selector])
		if err != nil {
			return nil, err
		}
		if c != nil {
			changes = append(changes, *c)
		}
	}
	for _, selector := range l.known[name] {
		if files[selector] != nil {
			continue
		}
		c, err := h.absent(ctx, keyID{name, selector}, removed)
		if err != nil {
			return nil, err
		}
		if c != nil {
			changes = append(changes, *c)
		}
	}
	// A row that is written again now is no obstacle: otherwise, accept-restore could not replace the forged row of a retired key.
	replaced := func(selector string) bool {
		return slices.ContainsFunc(changes, func(c change) bool { return c.key != nil && c.key.Selector == selector })
	}
	if slices.ContainsFunc(h.state.Refused, func(r refusal) bool { return r.Table == "sp_key" && r.ID[0] == name && !replaced(r.ID[1]) }) {
		// The other hosts may lack the successor, so they must not stop signing with the present key.
		changes = slices.DeleteFunc(changes, func(c change) bool { return c.key != nil && c.key.Stopped() && !c.key.Gone() })
	}
	rules, err := h.domainRules(ctx, name, l, removed, files)
	return append(changes, rules...), err
}

// changeOf compares the files of one key with its row. It returns nil if nothing has to be written.
func (h *Host) changeOf(ctx context.Context, f *keys.Files) (*change, error) {
	id := keyID{f.Domain, f.Selector}
	known := h.state.Keys[id]
	switch {
	case f.Local:
		return nil, nil
	case f.Missing:
		return nil, h.restore(ctx, id)
	}
	if f.Gone() {
		h.state.revoke(id, f.Fingerprint())
	}
	if known.Version > 0 && known.Hash == f.Hash() {
		return nil, nil
	}
	row, ok, err := h.DB.session().key(ctx, id)
	if err != nil {
		return nil, err
	}
	if !ok && known.Version > 0 { // the row was deleted; only accept-restore writes it again
		h.refuse("sp_key", id.row(), known.Version, refusedMissing)
		return nil, nil
	}
	if !ok {
		return &change{key: f}, nil
	}
	o, reason := h.open(row)
	if known.Version == 0 && reason == refusedForged { // nothing is lost: no host can use the row
		return &change{key: f, known: known, base: row.version}, nil
	}
	if row.version != known.Version {
		_, err := h.takeKey(ctx, row, false) // the next push compares the result
		return nil, err
	}
	if reason != "" {
		h.refuse("sp_key", id.row(), row.version, reason)
		return nil, nil
	}
	// The files of this host are newer than the row, unless they were restored from a backup.
	merged, err := keys.Merge(o.files, f)
	if err != nil {
		return nil, err
	}
	if merged.Hash() != f.Hash() {
		if err := h.put(ctx, merged); err != nil {
			return nil, err
		}
	}
	if merged.Hash() == o.files.Hash() {
		return nil, nil
	}
	return &change{key: merged, known: known, base: row.version}, nil
}

// put writes the files of a key under the lock of its domain.
func (h *Host) put(ctx context.Context, f *keys.Files) error {
	unlock, err := h.Store.Lock(ctx, f.Domain)
	if err != nil {
		return err
	}
	defer unlock()
	return h.Store.Put(f)
}

// restore fetches the files of a key that are missing on this host.
func (h *Host) restore(ctx context.Context, id keyID) error {
	verified, err := h.fetchKey(ctx, h.DB.session(), id)
	if verified {
		h.Log.Warn("cluster key restored", "domain", id.domain, "selector", id.selector)
	}
	return err
}

// absent handles a key without files: it was removed with its domain, or its files were lost.
func (h *Host) absent(ctx context.Context, id keyID, removed bool) (*change, error) {
	known := h.state.Keys[id]
	if !removed {
		if known.Version == 0 {
			return nil, nil
		}
		return nil, h.restore(ctx, id)
	}
	row, ok, err := h.DB.session().key(ctx, id)
	if err != nil {
		return nil, err
	}
	if !ok {
		delete(h.state.Keys, id)
		return nil, nil
	}
	if row.version != known.Version {
		if _, err := h.takeKey(ctx, row, false); err != nil {
			return nil, err
		}
		if known = h.state.Keys[id]; row.version != known.Version || known.Deleted {
			return nil, nil
		}
	}
	o, reason := h.open(row)
	if reason != "" {
		h.refuse("sp_key", id.row(), row.version, reason)
		return nil, nil
	}
	f, err := keys.NewFiles(id.domain, id.selector, o.Metadata, nil, true)
	return &change{key: f, known: known, base: row.version}, err
}

// domainRules returns the changes of the kinds hosted and removed.
func (h *Host) domainRules(ctx context.Context, name string, l local, removed bool, files map[string]*keys.Files) (changes []change, err error) {
	hosted := RuleID{kindHosted, name}
	known := h.state.Rules[hosted]
	active := slices.ContainsFunc(slices.Collect(maps.Values(files)), (*keys.Files).Active)
	switch {
	case l.hosted[name] && known.Body == "":
		changes = append(changes, change{id: hosted, base: known.Version, body: h.Now().UTC().Format(time.RFC3339)})
	case l.hosted[name] || known.Body == "":
		if known.Dirty {
			changes = append(changes, change{id: hosted, base: known.Version, body: known.Body})
		}
	case removed, l.hasHosted && !active:
		changes = append(changes, change{id: hosted, base: known.Version})
	default: // the file was lost
		unlock, err := h.Store.Lock(ctx, name)
		if err != nil {
			return nil, err
		}
		defer unlock()
		if err := h.Store.Host(name); err != nil {
			return nil, err
		}
	}
	if !l.removed[name] {
		return changes, nil
	}
	past := RuleID{kindRemoved, name}
	known = h.state.Rules[past]
	data, err := h.Store.RemovedFile(name)
	if _, invalid := keys.ParseRemoved(data); err != nil || data == nil || invalid != nil {
		return changes, err
	}
	if string(data) != known.Body || known.Dirty {
		changes = append(changes, change{id: past, base: known.Version, body: string(data)})
	}
	return changes, nil
}
