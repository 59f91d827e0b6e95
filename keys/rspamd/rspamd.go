// Package rspamd finds the DKIM keys of rspamd, and of mailcow, which is rspamd with the keys in Redis. It reads the output of rspamadm and
// redis-cli. It explains the keys that cannot be imported:
//
//	found, skipped, err := rspamd.Read("dkim_signing.json", "", "")
//	found, skipped, err = rspamd.ReadMailcow("selectors.json", "keys.json")
package rspamd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"signpost/internal/domain"
	"signpost/keys"
)

// list collects keys. The keys of sources are DOMAIN and SELECTOR, separated by a space.
type list struct {
	found   []keys.Foreign
	skipped []string
	sources map[string]string
}

func (l *list) skip(place, format string, args ...any) {
	l.skipped = append(l.skipped, place+": "+fmt.Sprintf(format, args...))
}

// parse checks a domain and a selector. If they are not valid, it reports this and returns false. The message does not contain the selector,
// because in a wrong file it may be a private key.
func (l *list) parse(place, name, selector string) (k keys.Foreign, ok bool) {
	hosted, err := domain.ParseHosted(name)
	if err != nil {
		l.skip(place, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
		return k, false
	}
	label, err := domain.Parse(selector)
	if err != nil {
		l.skip(place, "the selector is not valid")
		return k, false
	}
	return keys.Foreign{Domain: hosted, Selector: label}, true
}

// add adds a key, unless there is already one with its domain and selector.
func (l *list) add(place string, k keys.Foreign) {
	id := k.Domain + " " + k.Selector
	if other, taken := l.sources[id]; taken {
		l.skip(place, "key %s of %s is imported from %s instead", k.Selector, k.Domain, other)
		return
	}
	l.sources[id] = k.Source
	l.found = append(l.found, k)
}

// Read finds the keys of a rspamd installation. The file configFile has the output of "rspamadm configdump --json dkim_signing". If use_redis
// is set, keysFile has the output of "redis-cli --json HGETALL" of the hash key_prefix, and selectorsFile that of the hash selector_prefix.
// Otherwise both are "". The result skipped explains each key that is not imported.
func Read(configFile, keysFile, selectorsFile string) (found []keys.Foreign, skipped []string, err error) {
	c, err := readConfig(configFile)
	if err != nil {
		return nil, nil, err
	}
	if err := c.checkFiles(keysFile, selectorsFile); err != nil {
		return nil, nil, err
	}
	if selectorsFile != "" {
		return ReadMailcow(selectorsFile, keysFile)
	}
	if c.selectors, err = c.readMap("selector_map", c.SelectorMap); err != nil {
		return nil, nil, err
	}
	if c.paths, err = c.readMap("path_map", c.PathMap); err != nil {
		return nil, nil, err
	}
	l := list{sources: map[string]string{}}
	if keysFile == "" {
		err = l.files(c)
	} else {
		err = l.redis(c, keysFile)
	}
	return l.found, l.skipped, err
}

// redis adds keys whose selectors are in the configuration.
func (l *list) redis(c *config, keysFile string) error {
	private, err := readHash(keysFile)
	if err != nil {
		return err
	}
	for _, name := range c.domains() {
		for _, p := range c.keysOf(name) {
			l.addField(p.place, name, p.selector, private)
		}
	}
	for _, f := range private.fields {
		name, isDefault := strings.CutPrefix(f.name, c.Selector.or("dkim")+".")
		if isDefault && c.fallback() && !c.names(name) {
			l.addField(f.place, name, c.Selector.or("dkim"), private)
		}
	}
	l.skipUnused(private)
	return nil
}

// files adds keys in files.
func (l *list) files(c *config) error {
	for _, name := range c.domains() {
		for _, p := range c.keysOf(name) {
			if !filepath.IsAbs(p.path) {
				l.skip(p.place, "the path of the key is not absolute")
				continue
			}
			if k, ok := l.parse(p.place, name, p.selector); ok {
				k.Source = filepath.Clean(expand(p.path, name, p.selector))
				l.add(p.place, k)
			}
		}
	}
	path, selector := c.Path.or(defaultPath()), c.Selector.or("dkim")
	if !filepath.IsAbs(path) || !c.fallback() {
		return nil
	}
	if !strings.Contains(expand(path, "*", ""), "*") {
		if _, err := os.Stat(expand(path, "", selector)); err == nil {
			l.skip(c.file, "rspamd signs mail of all domains with %s; import it for each of your domains: dkimkey import KEYFILE --selector %s --domain DOMAIN", path, selector)
		}
		return nil
	}
	// filepath.Glob ignores errors, such as a lack of permission.
	static, _, _ := strings.Cut(path, "$")
	if _, err := os.ReadDir(filepath.Dir(static + "x")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	escaped := strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
	files, err := filepath.Glob(expand(escaped, "*", "*"))
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, k := range l.found {
		used[k.Source] = true
	}
	for _, file := range files {
		place := fmt.Sprintf("%q", file)
		if name := domainIn(file, path, selector); name != "" && !c.names(name) {
			if k, ok := l.parse(place, name, selector); ok {
				k.Source = file
				l.add(place, k)
			}
		} else if !used[file] {
			l.skip(place, "rspamd does not sign with this key; to import it, run dkimkey import KEYFILE --domain DOMAIN --selector SELECTOR")
		}
	}
	return nil
}

// expand replaces the variables in a path of rspamd.
func expand(path, domain, selector string) string {
	return strings.NewReplacer("$domain", domain, "${domain}", domain, "$selector", selector, "${selector}", selector).Replace(path)
}

// domainIn returns the domain in the name of a file, or "" if the file is not at that path. The path may contain the domain several times.
func domainIn(file, path, selector string) string {
	parts := strings.Split(expand(path, "\x00", selector), "\x00")
	length := (len(file) - len(strings.Join(parts, ""))) / (len(parts) - 1)
	rest, ok := strings.CutPrefix(file, parts[0])
	if !ok || length <= 0 || length > len(rest) || expand(path, rest[:length], selector) != file {
		return ""
	}
	return rest[:length]
}
