package publish

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// maxTSIGFile bounds a secret file: some key clauses and their comments, but no device and no log.
const maxTSIGFile = 64 << 10

// ReadTSIGSecret returns the base64 secret of a file: base64 alone, or a key clause as tsig-keygen(8) writes it. It is an error
// if everybody can read the file, or if its key clauses are for another name or algorithm.
func ReadTSIGSecret(path, name, algorithm string) (string, error) {
	text, err := readTSIGFile(path)
	if err != nil {
		return "", err
	}
	clauses := tsigClauses(text)
	if len(clauses) == 0 {
		if secret := strings.TrimSpace(text); validSecret(secret) {
			return secret, nil
		}
		return "", fmt.Errorf("%s: neither a base64 secret nor a key clause of tsig-keygen", path)
	}
	var names []string
	for _, c := range clauses {
		names = append(names, strconv.Quote(c.name))
		if dns.CanonicalName(c.name) != dns.CanonicalName(name) {
			continue
		}
		if a := strings.TrimSuffix(strings.ToLower(c.algorithm), "."); a != algorithm {
			return "", fmt.Errorf("%s: key %q has algorithm %q, tsig_algorithm is %q", path, c.name, c.algorithm, algorithm)
		}
		if !validSecret(c.secret) {
			return "", fmt.Errorf("%s: the secret of key %q is not base64", path, c.name)
		}
		return c.secret, nil
	}
	return "", fmt.Errorf("%s: the file is for key %s; tsig_name is %q", path, strings.Join(names, ", "), name)
}

func validSecret(s string) bool {
	secret, err := base64.StdEncoding.DecodeString(s)
	return err == nil && len(secret) > 0
}

func readTSIGFile(path string) (string, error) {
	// The open of a named pipe would wait for a writer.
	if fi, err := os.Stat(path); err == nil && !fi.Mode().IsRegular() {
		return "", fmt.Errorf("%s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		var reason *os.PathError
		if errors.As(err, &reason) {
			return "", fmt.Errorf("%s: %w", path, reason.Err)
		}
		return "", err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	if fi.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("%s: everybody can read or change the file (mode %04o); chmod 0600 it, and make a new secret if others have logins here", path, fi.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxTSIGFile))
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	return string(data), nil
}

type tsigClause struct{ name, algorithm, secret string }

// tsigClauses returns the key clauses of a file in the syntax of named.conf. A clause that is commented out does not count.
func tsigClauses(text string) []tsigClause {
	var lines []string
	for line := range strings.Lines(text) {
		// Only whole lines: base64 may contain "//".
		if start := strings.TrimSpace(line); !strings.HasPrefix(start, "#") && !strings.HasPrefix(start, "//") {
			lines = append(lines, line)
		}
	}
	var (
		clause    = regexp.MustCompile(`\bkey\s+"?([^"\s{;]+)"?\s*\{([^}]*)\}`)
		algorithm = regexp.MustCompile(`\balgorithm\s+"?([^"\s;]+)"?\s*;`)
		secret    = regexp.MustCompile(`\bsecret\s+"?([^";]+)"?\s*;`)
	)
	var all []tsigClause
	for _, m := range clause.FindAllStringSubmatch(strings.Join(lines, ""), -1) {
		c := tsigClause{name: m[1]}
		if a := algorithm.FindStringSubmatch(m[2]); a != nil {
			c.algorithm = a[1]
		}
		if s := secret.FindStringSubmatch(m[2]); s != nil {
			c.secret = s[1]
		}
		all = append(all, c)
	}
	return all
}
