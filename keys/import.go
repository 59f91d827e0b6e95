package keys

import (
	"bufio"
	"crypto"
	"fmt"
	"io"
	"os"
	"strings"

	"signpost/internal/dkim"
)

// Import copies a private key that another program signs with. Like every key it waits until its record has been seen; the
// record is taken to be published already, so that rotate never publishes it. The caller holds the lock.
func (s Store) Import(domain, selector, file, method string) (*Life, error) {
	signer, err := ReadKeyFile(file)
	if err != nil {
		return nil, err
	}
	if err := s.tree().makeDir(s.domainDir(domain)); err != nil {
		return nil, err
	}
	if _, err := s.vacate(domain, selector, false); err != nil {
		return nil, err
	}
	now := s.Now().UTC()
	life := &Life{Domain: domain, Selector: selector, Publish: method, Created: now, Published: &now, Imported: file}
	return life, s.place(life, signer)
}

// ReadKeyFile reads a private key that another program uses, whatever the mode of its file.
func ReadKeyFile(file string) (crypto.Signer, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPEM))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	signer, err := parsePEM(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return signer, nil
}

// OpenDKIMKey is a line of an OpenDKIM installation: which key signs for a domain.
type OpenDKIMKey struct {
	Domain, Selector, File string
}

// ReadOpenDKIM reads a KeyTable and a SigningTable of OpenDKIM (opendkim.conf(5)), as files with or without "refile:". The
// keys come in the order of the SigningTable, the first for a domain being the one that OpenDKIM signs with. What has no
// equal here is said in skipped, a line each.
func ReadOpenDKIM(keyTable, signingTable string) (found []OpenDKIMKey, skipped []string, err error) {
	type entry struct{ domain, selector, file string }
	table := map[string]entry{}
	err = readTable(keyTable, func(n int, name, value string) {
		parts := strings.SplitN(value, ":", 3)
		if len(parts) != 3 || !strings.HasPrefix(parts[2], "/") {
			skipped = append(skipped, fmt.Sprintf("%s:%d: %s: DOMAIN:SELECTOR:/PATH is needed", keyTable, n, name))
			return
		}
		table[name] = entry{parts[0], parts[1], parts[2]}
	})
	if err != nil {
		return nil, nil, err
	}
	seen := map[OpenDKIMKey]bool{}
	err = readTable(signingTable, func(n int, pattern, names string) {
		for name := range strings.SplitSeq(names, ",") {
			e, ok := table[strings.TrimSpace(name)]
			if !ok {
				skipped = append(skipped, fmt.Sprintf("%s:%d: the KeyTable has no %s", signingTable, n, name))
				continue
			}
			author := patternDomain(pattern)
			if e.domain == "%" {
				e.domain = author
			}
			domain, err := dkim.Domain(e.domain)
			selector, selectorErr := dkim.Domain(e.selector)
			switch {
			case err != nil || selectorErr != nil:
				skipped = append(skipped, fmt.Sprintf("%s:%d: %s: %q of %q is no name of a key", signingTable, n, pattern, e.selector, e.domain))
				continue
			case author != "" && author != domain && !dkim.Within(author, domain):
				skipped = append(skipped, fmt.Sprintf("%s:%d: %s: mail of %s is signed for %s, which Signpost does not do", signingTable, n, pattern, author, domain))
				continue
			case strings.Contains(pattern, "@") && !strings.HasPrefix(pattern, "*@"):
				skipped = append(skipped, fmt.Sprintf("%s:%d: %s: taken for the whole of %s; sign.login_domains says who may use it", signingTable, n, pattern, domain))
			}
			k := OpenDKIMKey{domain, selector, e.file}
			if !seen[k] {
				seen[k] = true
				found = append(found, k)
			}
		}
	})
	return found, skipped, err
}

// patternDomain is the domain that a line of a SigningTable is about, "" where it is about all.
func patternDomain(pattern string) string {
	d := strings.ToLower(pattern[strings.LastIndexByte(pattern, '@')+1:])
	return strings.TrimPrefix(strings.TrimPrefix(d, "*"), ".")
}

// readTable reads lines of a key and a value; # begins a comment.
func readTable(path string, line func(n int, key, value string)) error {
	f, err := os.Open(strings.TrimPrefix(strings.TrimPrefix(path, "refile:"), "file:"))
	if err != nil {
		return err
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	for n := 1; scanner.Scan(); n++ {
		text, _, _ := strings.Cut(scanner.Text(), "#")
		if fields := strings.Fields(text); len(fields) >= 2 {
			line(n, fields[0], strings.Join(fields[1:], ""))
		}
	}
	return scanner.Err()
}
