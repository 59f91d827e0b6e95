package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"signpost/internal/domain"
	"signpost/internal/durable"
)

// domainDir is the open directory of a domain.
type domainDir struct {
	store  Store
	dir    *os.Root
	path   string
	domain string
	files  []fs.FileInfo
}

// stamp returns a string for the files of the domain. It changes if the name, inode, size, mode, owner or time of any file changes.
func (d domainDir) stamp() string {
	var b strings.Builder
	add := func(fi fs.FileInfo) {
		st := fi.Sys().(*syscall.Stat_t)
		fmt.Fprintln(&b, fi.Name(), st.Ino, fi.Size(), fi.Mode(), st.Uid, st.Gid, fi.ModTime().UnixNano())
	}
	if fi, err := d.dir.Stat("."); err == nil {
		add(fi)
	}
	for _, fi := range d.files {
		add(fi)
	}
	observed, err := d.store.tree().Open(d.store.observedDir(d.domain))
	if err != nil {
		return b.String()
	}
	defer observed.Close()
	files, _ := durable.List(observed)
	for _, fi := range files {
		add(fi)
	}
	return b.String()
}

func (d domainDir) has(name string) bool {
	return slices.ContainsFunc(d.files, func(fi fs.FileInfo) bool { return fi.Name() == name })
}

// holdsKeys reports whether the directory has key files.
func (d domainDir) holdsKeys() bool {
	return slices.ContainsFunc(d.files, func(fi fs.FileInfo) bool {
		ext := filepath.Ext(fi.Name())
		return ext == ".pem" || ext == ".private" || ext == ".json"
	})
}

// keys reads all keys of the domain.
func (d domainDir) keys(before *Set) []*Key {
	var keys []*Key
	for _, fi := range d.files {
		if strings.HasPrefix(fi.Name(), ".") {
			continue
		}
		if name, isForeign := strings.CutSuffix(fi.Name(), ".private"); isForeign {
			if selector := strings.ToLower(name); !d.has(selector+".pem") && !d.has(selector+".json") {
				keys = append(keys, d.foreign(name))
			}
			continue
		}
		name, isPEM := strings.CutSuffix(fi.Name(), ".pem")
		if !isPEM {
			// There is metadata without a private key: the key was revoked or removed, or its file is missing.
			var isMetadata bool
			if name, isMetadata = strings.CutSuffix(fi.Name(), ".json"); !isMetadata || d.has(name+".pem") {
				continue
			}
		}
		k := d.key(name)
		if !isPEM && k.Metadata != nil && k.Metadata.unfinished() {
			continue // it is being created, or its creation was interrupted
		}
		if k.Err != nil && before != nil && !errors.Is(k.Err, fs.ErrNotExist) {
			if old := before.find(d.domain, k.Selector); old != nil && old.Signer != nil {
				kept := *old
				kept.Err = k.Err
				k = &kept
			}
		}
		keys = append(keys, k)
	}
	return keys
}

// foreign returns a key for a file with the name that opendkim-genkey(8) uses. The file is never read, because another program has set its
// mode. It may also be a copy of a key that signs on another host.
func (d domainDir) foreign(name string) *Key {
	k := &Key{Domain: d.domain, Selector: strings.ToLower(name), State: Unusable, Foreign: true}
	path := filepath.Join(d.path, name+".private")
	what := "rename it to SELECTOR.pem with mode 0600"
	// Users copy and paste this command, so it must contain only a valid selector.
	if selector, err := domain.Parse(name); err == nil {
		what = fmt.Sprintf("rename it to %s.pem with mode 0600, or run dkimkey import %s --domain %s --selector %s", selector, path, d.domain, selector)
	}
	k.Err = fmt.Errorf("%s: this is OpenDKIM's file name; %s", path, what)
	return k
}

func (d domainDir) key(name string) *Key {
	k := &Key{Domain: d.domain, Selector: name, State: Unusable}
	selector, err := domain.Parse(name)
	if err != nil {
		k.Err = fmt.Errorf("%s: %q is not a selector; rename the file to SELECTOR.pem", filepath.Join(d.path, name+".pem"), name)
		return k
	}
	if selector != name { // the key keeps the wrong name, so that it is not mistaken for the key with the correct name
		ext := ".pem"
		if !d.has(name + ext) {
			ext = ".json"
		}
		k.Err = misnamed(filepath.Join(d.path, name+ext), selector+ext)
		return k
	}
	metadata, err := d.metadata(name)
	switch {
	case err == nil:
		k.Metadata, k.State, k.Since = metadata, metadata.State(), metadata.since()
		k.Algorithm, k.Bits = metadata.Algorithm, metadata.Bits
		if k.State == Revoked || k.State == Removed {
			return k // its private key is deleted
		}
	case errors.Is(err, fs.ErrNotExist):
		if fi, err := d.statPEM(name + ".pem"); err == nil {
			k.Since = fi.ModTime()
		}
	default:
		// Without the metadata, it is unknown whether the key may sign.
		k.Err = err
		return k
	}
	if d.store.metadataOnly {
		k.unread, err = true, d.checkPEM(name+".pem")
	} else {
		k.Signer, err = d.readPEM(name + ".pem")
	}
	var credential *credentialError
	if k.Err = err; err != nil {
		k.unread, k.Elsewhere = false, errors.As(err, &credential)
	}
	if k.Signer != nil {
		k.Algorithm, k.Bits = describe(k.Signer.Public())
	}
	if k.Metadata == nil {
		if k.Err == nil || k.Elsewhere {
			k.State = Published
		}
		d.observe(k)
	}
	return k
}

// observe sets the state of an unmanaged key from the daemon's observation: the key is active if its record was found in DNS.
func (d domainDir) observe(k *Key) {
	if k.Observed = d.store.observed(k); k.Observed == nil {
		return
	}
	k.Algorithm, k.Bits = k.Observed.Algorithm, k.Observed.Bits
	if k.Observed.Activated != nil {
		k.State, k.Since = Active, *k.Observed.Activated
	}
}

func (d domainDir) metadata(name string) (*Metadata, error) {
	path := filepath.Join(d.path, name+".json")
	data, err := durable.Read(d.dir, name+".json", durable.MaxFile)
	if err != nil {
		return nil, durable.PathError(path, err)
	}
	return parseMetadata(path, data, filepath.Base(d.path), name)
}
