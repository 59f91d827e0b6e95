package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/keys"
)

// checkList returns an error if the flags about a list do not fit together.
func (f *addFlags) checkList(args []string) error {
	switch {
	case f.retire && (f.file == "" || len(args) > 0):
		return errors.New("--retire-missing requires a complete list: pass --from-file FILE and no DOMAIN")
	case f.retire && !f.missing:
		return errors.New("--retire-missing requires --missing: otherwise the same domains get new keys in each run")
	case f.force && !f.retire:
		return errors.New("--force requires --retire-missing")
	case f.most < 0:
		return fmt.Errorf("--max %d: must not be negative", f.most)
	case f.most > 0 && !f.missing:
		return errors.New("--max requires --missing: otherwise the same domains get new keys in each run")
	}
	return nil
}

// list is the record of the domains that were added from a list. It is locked.
type list struct {
	*app
	listed keys.Listed
	stderr io.Writer
}

// openList locks and reads the record of the domains that were added from a list.
func (d *app) openList(c *cobra.Command) (l *list, unlock func(), err error) {
	listed, unlock, err := lockListed(c, d.store)
	return &list{d, listed, c.ErrOrStderr()}, unlock, err
}

func lockListed(c *cobra.Command, store keys.Store) (listed keys.Listed, unlock func(), err error) {
	store.Lease = nil // it holds the lock of a domain
	if unlock, err = store.Lock(c.Context(), "list"); err != nil {
		return nil, nil, err
	}
	if listed, err = store.Listed(); err != nil {
		unlock()
		return nil, nil, err
	}
	return listed, unlock, nil
}

// unlist deletes a domain from the record, because the operator has removed its keys. If the operator adds it again by name, it stays.
func unlist(c *cobra.Command, store keys.Store, name string) error {
	if listed, err := store.Listed(); err != nil || listed[name] == nil {
		return err
	}
	listed, unlock, err := lockListed(c, store)
	if err != nil {
		return err
	}
	defer unlock()
	delete(listed, name)
	return store.WriteListed(listed)
}

// add records the domains that get their first keys from the list. It does so before the keys are created: Compare forgets a domain without
// keys, but would not remove a domain that is not recorded.
func (l *list) add(domains []string) error {
	first, err := l.store.WithoutKeys(domains)
	if err != nil || len(first) == 0 {
		return err
	}
	for _, name := range first {
		l.listed[name] = &keys.ListedDomain{Added: l.store.Now().UTC()}
	}
	return l.store.WriteListed(l.listed)
}

// retire removes the domains that have been missing from the list for long enough, and reports whether action is needed. If force is true,
// it removes any number of domains.
func (l *list) retire(c *cobra.Command, domains []string, force bool) (needed bool, err error) {
	names, err := l.store.Known()
	if err != nil {
		return false, err
	}
	known, err := l.store.Hosted() // a removal that was interrupted may have left a hosted domain without keys
	if err != nil {
		return false, err
	}
	for _, name := range names {
		known[name] = true
	}
	missing, due := l.listed.Compare(domains, known, l.store.Now())
	if err := l.store.WriteListed(l.listed); err != nil {
		return false, err
	}
	if most := l.listed.MayRetire(); len(due) > most && !force {
		fmt.Fprintf(l.stderr, "dkimkey: %d domains have been missing from the list for %d days, but one run removes at most %d, so none is removed: %s\n"+
			"hint: check the list; if it is complete, run the command again with --force\n", len(due), keys.MissingDays, most, strings.Join(some(due), ", "))
		return true, nil
	}
	for _, name := range missing {
		if n := len(l.listed[name].Missing); n < keys.MissingDays {
			fmt.Fprintf(l.stderr, "%s: missing from the list on %d of %d days; on the last one, its keys are deleted\n", name, n, keys.MissingDays)
		}
	}
	for _, name := range due {
		if err := removeDomain(c, l.conf, l.store, name); err != nil {
			needed = true
			cli.Print(l.stderr, "dkimkey", fmt.Errorf("remove: %w", err))
			continue
		}
		delete(l.listed, name)
	}
	if len(due) == 0 {
		return needed, nil
	}
	return needed, l.store.WriteListed(l.listed)
}

// some returns the first names of a long list.
func some(names []string) []string {
	const most = 10
	if len(names) <= most {
		return names
	}
	return append(names[:most:most], fmt.Sprintf("and %d more", len(names)-most))
}
