// Package opendkim reads the KeyTable and SigningTable of an OpenDKIM installation. [Read] returns each key and explains the lines
// that cannot be imported:
//
//	found, skipped, err := opendkim.Read("/etc/opendkim/KeyTable", "refile:/etc/opendkim/SigningTable")
package opendkim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"signpost/internal/domain"
	"signpost/keys"
)

// keyTableEntry is a line of a KeyTable.
type keyTableEntry struct{ name, domain, selector, file string }

// tables is the state of parse.
type tables struct {
	signingTable string
	entries      []keyTableEntry
	byName       map[string]keyTableEntry
	found        []keys.Foreign
	seen         map[keys.Foreign]bool
	skipped      []string
}

// Read reads a KeyTable and a SigningTable (opendkim.conf(5)). Each is a path, with or without "file:" or "refile:". The keys are in the
// order of the SigningTable: OpenDKIM signs with the first key of a domain. The result skipped explains each line that has no equivalent in
// Signpost.
func Read(keyTable, signingTable string) (found []keys.Foreign, skipped []string, err error) {
	keyText, err := readTable("KeyTable", keyTable)
	if err != nil {
		return nil, nil, err
	}
	signingText, err := readTable("SigningTable", signingTable)
	if err != nil {
		return nil, nil, err
	}
	found, skipped = parse(keyTable, keyText, signingTable, signingText)
	return found, skipped, nil
}

// parse is like Read, but its parameters include the text of the tables. The names of the tables are for the explanations.
func parse(keyTable, keyText, signingTable, signingText string) ([]keys.Foreign, []string) {
	o := &tables{signingTable: signingTable, byName: map[string]keyTableEntry{}, seen: map[keys.Foreign]bool{}}
	tableLines(keyText, func(n int, name, value string) {
		e, err := parseKeyTableEntry(name, value)
		if err != nil {
			o.skipped = append(o.skipped, fmt.Sprintf("%s:%d: %s: %v", keyTable, n, name, err))
			return
		}
		o.entries = append(o.entries, e)
		o.byName[name] = e
	})
	tableLines(signingText, o.sign)
	return o.found, o.skipped
}

func parseKeyTableEntry(name, value string) (keyTableEntry, error) {
	parts := strings.SplitN(value, ":", 3)
	if len(parts) != 3 {
		return keyTableEntry{}, errors.New("the value must have the form DOMAIN:SELECTOR:/PATH")
	}
	e := keyTableEntry{name, parts[0], parts[1], parts[2]}
	switch {
	case filepath.IsAbs(e.file):
		return e, nil
	case strings.HasPrefix(e.file, "./"), strings.HasPrefix(e.file, "../"):
		return keyTableEntry{}, errors.New("the path is relative to OpenDKIM's working directory; change it to an absolute path, DOMAIN:SELECTOR:/PATH")
	}
	return keyTableEntry{}, errors.New("the value is the private key itself, not a path; write the key to a file, and DOMAIN:SELECTOR:/PATH to the table")
}

func (o *tables) skip(n int, pattern, format string, args ...any) {
	o.skipped = append(o.skipped, fmt.Sprintf("%s:%d: %s: ", o.signingTable, n, pattern)+fmt.Sprintf(format, args...))
}

// sign reads a line of the SigningTable: a pattern of From addresses, and the names of keys. A name may have a second field after a colon.
// sign ignores this field, which is for i=.
func (o *tables) sign(n int, pattern, names string) {
	if strings.Trim(names, ",") == "" {
		o.skip(n, pattern, "the line has no key")
		return
	}
	author := patternDomain(pattern)
	for name := range strings.SplitSeq(names, ",") {
		name, _, _ = strings.Cut(name, ":")
		if name == "" {
			o.skip(n, pattern, "%q has an empty key name", names)
			continue
		}
		if name == "%" && author == "" {
			// In this case, each domain signs with the key whose name is the domain. So the names in the KeyTable are the list of domains.
			for _, e := range o.entries {
				o.add(n, pattern, strings.ToLower(e.name), e)
			}
			continue
		}
		if name == "%" {
			name = author
		}
		e, ok := o.byName[name]
		if !ok {
			o.skipped = append(o.skipped, fmt.Sprintf("%s:%d: the KeyTable has no %s", o.signingTable, n, name))
			continue
		}
		o.add(n, pattern, author, e)
	}
}

// add adds a key. The parameter author is the domain whose mail the key signs; "" means all domains.
func (o *tables) add(n int, pattern, author string, e keyTableEntry) {
	if strings.Contains(e.domain+e.file, "%") && (author == "" || strings.Contains(author, "*")) {
		o.skip(n, pattern, "KeyTable entry %s has %% for the domain, but the pattern has no domain; replace the line by one for each domain, "+
			"such as \"*@example.org %s\", or run dkimkey import KEYFILE --domain DOMAIN --selector %s for each", e.name, e.name, e.selector)
		return
	}
	if e.domain == "%" {
		e.domain = author
	}
	e.file = strings.ReplaceAll(e.file, "%", author)
	signing, err := domain.ParseHosted(e.domain)
	if err != nil {
		o.skip(n, pattern, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	selector, err := domain.Parse(e.selector)
	if err != nil {
		o.skip(n, pattern, "%q is not a selector", e.selector)
		return
	}
	switch {
	case author == "":
		o.skip(n, pattern, "OpenDKIM signs the mail of all domains as %s; Signpost signs only mail of %s and the domains below it. For each other domain: dkimkey add DOMAIN",
			signing, signing)
	case !domain.Within(author, signing):
		o.skip(n, pattern, "OpenDKIM signs mail of %s as %s; Signpost cannot do this", author, signing)
		return
	case strings.Contains(pattern, "@") && !strings.HasPrefix(pattern, "*@"):
		o.skip(n, pattern, "imported for all addresses of %s; use sign.login_domains to limit who may use them", signing)
	}
	if k := (keys.Foreign{Domain: signing, Selector: selector, Source: e.file}); !o.seen[k] {
		o.seen[k] = true
		o.found = append(o.found, k)
	}
}

// patternDomain returns the domain in a pattern of a SigningTable, or "" if the pattern matches all domains.
func patternDomain(pattern string) string {
	d := strings.ToLower(pattern[strings.LastIndexByte(pattern, '@')+1:])
	return strings.TrimPrefix(strings.TrimPrefix(d, "*"), ".")
}

// maxTable is the maximum size of a table in bytes: 100,000 lines of 160 bytes.
const maxTable = 16 << 20

// readTable returns the text of a table.
func readTable(name, spec string) (string, error) {
	path, err := tablePath(name, spec)
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTable+1))
	switch {
	case err != nil:
		return "", err
	case len(data) > maxTable:
		return "", fmt.Errorf("%s %s: larger than 16 MiB", name, path)
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return "", fmt.Errorf("%s %s: the file is in UTF-16; save it as UTF-8", name, path)
	case bytes.IndexByte(data, 0) >= 0:
		return "", fmt.Errorf("%s %s: not a text file; if it is a database, export it to a text file", name, path)
	}
	return string(data), nil
}

// tableLines calls the function line for each key with its value, which may be empty. # starts a comment.
func tableLines(text string, line func(n int, key, value string)) {
	// Editors on Windows write a byte order mark and CR LF.
	text = strings.TrimPrefix(text, "\ufeff")
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	n := 0
	for text := range strings.Lines(text) {
		n++
		text, _, _ = strings.Cut(text, "#")
		if fields := strings.Fields(text); len(fields) > 0 {
			line(n, fields[0], strings.Join(fields[1:], ""))
		}
	}
}

// tablePath returns the path of a data set (opendkim(8), "Data sets"). It returns an error for types that are not text files. The error
// contains only the type, because a data set of type dsn may contain a password.
func tablePath(name, spec string) (string, error) {
	kind, path, isTyped := strings.Cut(spec, ":")
	line := "*@DOMAIN NAME"
	if name == "KeyTable" {
		line = "NAME DOMAIN:SELECTOR:/PATH"
	}
	export := fmt.Sprintf("; export it to a file with lines of the form %q, and import that file", line)
	_, statErr := os.Stat(spec)
	switch {
	case spec == "", isTyped && path == "" && (kind == "file" || kind == "refile"):
		return "", fmt.Errorf("%s: %q has no file name", name, spec)
	case isTyped && (kind == "file" || kind == "refile"):
		return path, nil
	case statErr == nil:
		return spec, nil
	case isTyped && kind == "csl", !isTyped && strings.Contains(spec, "="):
		return "", fmt.Errorf("%s: the list (csl) is in opendkim.conf itself%s", name, strings.Replace(export, "export", "write", 1))
	case isTyped && (kind == "dsn" || kind == "odbx"):
		return "", fmt.Errorf("%s: %s: an SQL database%s", name, kind, export)
	case isTyped && (kind == "ldap" || kind == "ldaps" || kind == "ldapi"):
		return "", fmt.Errorf("%s: %s: an LDAP directory%s", name, kind, export)
	case isTyped && (kind == "db" || kind == "mdb"):
		return "", fmt.Errorf("%s: %s: a database file%s", name, kind, export)
	case isTyped && (kind == "lua" || kind == "memcache" || kind == "erlang" || kind == "socket"):
		return "", fmt.Errorf("%s: %s: a program returns the answers%s", name, kind, strings.Replace(export, "export it to", "write them to", 1))
	case isTyped && !strings.Contains(kind, "/"):
		return "", fmt.Errorf("%s: unknown type %q%s", name, kind, export)
	}
	return spec, nil
}
