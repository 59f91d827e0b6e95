package keys

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"signpost/internal/dkim"
)

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
