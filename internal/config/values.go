package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"signpost/internal/domain"
)

func text(to *string, v any) error {
	s, ok := v.(string)
	if !ok {
		return errors.New("must be a string in quotes")
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }) {
		return errors.New("must not contain control characters")
	}
	*to = s
	return nil
}

func word(to *string, v any, allowed ...string) error {
	var s string
	if err := text(&s, v); err != nil {
		return err
	}
	if !slices.Contains(allowed, s) {
		return fmt.Errorf("must be %s, not %q", quotedList(allowed), s)
	}
	*to = s
	return nil
}

func quotedList(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	if n := len(quoted) - 1; n > 0 {
		return strings.Join(quoted[:n], ", ") + " or " + quoted[n]
	}
	return quoted[0]
}

func boolean(to *bool, v any) error {
	b, ok := v.(bool)
	if !ok {
		return errors.New("must be true or false, without quotes")
	}
	*to = b
	return nil
}

// list reads an array of strings. It calls the function one to convert each string.
func list[T any](to *[]T, v any, one func(s string) (T, error)) error {
	items, ok := v.([]any)
	if !ok {
		return errors.New("must be a list in square brackets, like [\"one\", \"two\"]")
	}
	all := make([]T, 0, len(items))
	for _, item := range items {
		var s string
		if err := text(&s, item); err != nil {
			return errors.New("must be a list of strings in quotes")
		}
		t, err := one(s)
		if err != nil {
			return err
		}
		all = append(all, t)
	}
	*to = all
	return nil
}

// parseDuration parses a Go duration, or a number of days with the unit d.
func parseDuration(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.ParseUint(n, 10, 16)
		return time.Duration(days) * day, err
	}
	return time.ParseDuration(s)
}

func duration(to *time.Duration, v any, least, most time.Duration) error {
	s, ok := v.(string)
	if !ok {
		return errors.New("must be a time in quotes, like \"20s\", \"5m\", \"12h\" or \"7d\"")
	}
	d, err := parseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a time; write a time like \"20s\", \"5m\", \"12h\" or \"7d\"", s)
	}
	if d < least || d > most {
		return fmt.Errorf("%q is out of range; must be %s to %s", s, formatDuration(least), formatDuration(most))
	}
	*to = d
	return nil
}

func durationOrNever(to *time.Duration, v any, least, most time.Duration) error {
	if v == "never" {
		*to = 0
		return nil
	}
	if err := duration(to, v, least, most); err != nil {
		return fmt.Errorf("%w, or \"never\"", err)
	}
	return nil
}

// size reads a number of bytes with a unit.
func size(to *int64, v any, least, most int64) error {
	s, ok := v.(string)
	if !ok {
		return errors.New("must be a size in quotes, like \"512MiB\" or \"4GiB\"")
	}
	number := strings.TrimRight(s, "KMGTiB")
	shift, known := map[string]int{"KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[s[len(number):]]
	n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 20)
	if !known || err != nil {
		return fmt.Errorf("%q is not a size; write a size like \"512MiB\" or \"4GiB\"", s)
	}
	if bytes := int64(n) << shift; bytes >= least && bytes <= most {
		*to = bytes
		return nil
	}
	return fmt.Errorf("%q is out of range; must be %dMiB to %dMiB", s, least>>20, most>>20)
}

func formatDuration(d time.Duration) string {
	if d%day == 0 {
		return strconv.Itoa(int(d/day)) + "d"
	}
	s := d.String()
	s = strings.TrimSuffix(s, "0s")
	return strings.TrimSuffix(s, "0m")
}

// maxSocketPath is the maximum length of a unix socket's path in bytes (sun_path without its final NUL; FreeBSD has 103).
const maxSocketPath = 103

// ParseListener parses the address of a socket: unix:/PATH or inet:HOST:PORT.
func ParseListener(s string) (Listener, error) {
	kind, rest, _ := strings.Cut(s, ":")
	switch kind {
	case "unix":
		if !filepath.IsAbs(rest) {
			return Listener{}, fmt.Errorf("%q must have an absolute path, like \"unix:/var/spool/postfix/signpost/milter.sock\"", s)
		}
		if len(rest) > maxSocketPath {
			return Listener{}, fmt.Errorf("the path of %q is too long; a socket path has at most %d bytes", s, maxSocketPath)
		}
		return Listener{"unix", rest}, nil
	case "inet":
		host, port, err := net.SplitHostPort(rest)
		if err != nil || host == "" {
			return Listener{}, fmt.Errorf("%q must have a host and a port, like \"inet:127.0.0.1:8891\" or \"inet:[::1]:8891\"", s)
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return Listener{}, fmt.Errorf("%q does not have a valid port; must be 1 to 65535", s)
		}
		return Listener{"tcp", rest}, nil
	}
	return Listener{}, fmt.Errorf("%q is not a socket; must be unix:/PATH or inet:HOST:PORT", s)
}

func fileMode(to *fs.FileMode, v any) error {
	s, ok := v.(string)
	if !ok {
		return errors.New("must be a mode in quotes, like \"0660\"")
	}
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf("must be an octal mode like \"0660\", not %q", s)
	}
	if n&0o002 != 0 {
		return fmt.Errorf("%q allows every local user to have mail signed; use \"0660\" and socket_group", s)
	}
	*to = fs.FileMode(n)
	return nil
}

func authservIDs(to *[]string, v any) error {
	return list(to, v, func(s string) (string, error) {
		var id string
		err := authservID(&id, s)
		return id, err
	})
}

// authservID reads an authserv-id (RFC 8601 section 2.2). It must be a name, because it is compared with text that senders choose.
func authservID(to *string, v any) error {
	var s string
	if err := text(&s, v); err != nil {
		return err
	}
	if s != "" {
		if _, err := domain.Parse(s); err != nil {
			return fmt.Errorf("%q is not a host or domain name", s)
		}
	}
	*to = s
	return nil
}

func networks(to *[]netip.Prefix, v any) error {
	return list(to, v, func(s string) (netip.Prefix, error) {
		p, ok := domain.ParseNetwork(s)
		if !ok {
			return p, fmt.Errorf("%q is not a network; write a network like \"192.0.2.0/24\" or \"2001:db8::/32\"", s)
		}
		if p.Masked() != p {
			return p, fmt.Errorf("%q has bits set outside its prefix; did you mean %q?", s, p.Masked())
		}
		return p, nil
	})
}

func absolute(to *string, v any, orEmpty bool) error {
	var s string
	if err := text(&s, v); err != nil {
		return err
	}
	if orEmpty && s == "" {
		*to = ""
		return nil
	}
	if !filepath.IsAbs(s) {
		return fmt.Errorf("%q must be an absolute path", s)
	}
	*to = filepath.Clean(s)
	return nil
}

func domainName(s string) (string, error) {
	d, err := domain.Parse(s)
	if err != nil || !strings.Contains(d, ".") {
		return "", fmt.Errorf("%q is not a domain name", s)
	}
	return d, nil
}

func domains(to *[]string, v any) error { return list(to, v, domainName) }

func logins(to *map[string][]string, v any) error {
	table, ok := v.(map[string]any)
	if !ok {
		return errors.New("must be a table, like { \"ann@example.org\" = [\"example.org\"] }")
	}
	all := map[string][]string{}
	for _, login := range slices.Sorted(maps.Keys(table)) {
		var d []string
		if err := domains(&d, table[login]); err != nil {
			return fmt.Errorf("%q: %w", login, err)
		}
		all[strings.ToLower(login)] = d
	}
	*to = all
	return nil
}

func servers(to *[]netip.AddrPort, v any) error {
	return list(to, v, func(s string) (netip.AddrPort, error) {
		a, err := AddrPort(s)
		if err != nil {
			return a, fmt.Errorf("%q is not an IP address; write an address like \"127.0.0.1\" or \"127.0.0.1:5300\"", s)
		}
		return a, nil
	})
}

func resolver(to *string, v any) error {
	var s string
	if err := text(&s, v); err != nil {
		return err
	}
	if s != "" {
		if _, err := AddrPort(s); err != nil {
			return fmt.Errorf("%q is not an IP address; write an address like \"192.0.2.53\" or \"192.0.2.53:5300\"", s)
		}
	}
	*to = s
	return nil
}

func algorithms(to *[]string, v any) error {
	var got []string
	err := list(&got, v, func(s string) (string, error) {
		var a string
		if err := word(&a, s, "rsa", "ed25519"); err != nil {
			return "", err
		}
		if slices.Contains(got, a) {
			return "", fmt.Errorf("%q is listed twice", a)
		}
		got = append(got, a)
		return a, nil
	})
	if err != nil {
		return err
	}
	if len(got) == 0 {
		return errors.New("must contain \"rsa\" or \"ed25519\"")
	}
	*to = got
	return nil
}

func rsaBits(to *int, v any) error {
	n, ok := v.(int64)
	if !ok {
		return errors.New("must be 2048, 3072 or 4096, without quotes")
	}
	if n == 1024 {
		return errors.New("must be 2048, 3072 or 4096, not 1024, which is too short (RFC 8301)")
	}
	if !slices.Contains([]int64{2048, 3072, 4096}, n) {
		return fmt.Errorf("must be 2048, 3072 or 4096, not %d", n)
	}
	*to = int(n)
	return nil
}

// minRing is the minimum length of a ring. A ring needs the selector that signs, the previous one for mail in transit, and the next
// one.
const minRing = 3

func ring(c *Config, algorithm string, v any) error {
	var ring []string
	err := list(&ring, v, func(s string) (string, error) {
		d, err := domain.Parse(s)
		if err != nil {
			return "", fmt.Errorf("%q is not a valid selector", s)
		}
		return d, nil
	})
	if err != nil {
		return err
	}
	if len(ring) < minRing {
		return fmt.Errorf("must contain at least %d selectors", minRing)
	}
	if c.Keys.Selectors == nil {
		c.Keys.Selectors = map[string][]string{}
	}
	c.Keys.Selectors[algorithm] = ring
	return nil
}

// hostPort reads HOST:PORT. The parameter example is for the error.
func hostPort(to *string, v any, example string) error {
	var s string
	if err := text(&s, v); err != nil {
		return err
	}
	if s != "" {
		host, port, err := net.SplitHostPort(s)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil || host == "" {
			return fmt.Errorf("%q must have a host and a port, like %q", s, example)
		}
	}
	*to = s
	return nil
}

func argv(to *[]string, v any) error {
	return list(to, v, func(s string) (string, error) { return s, nil })
}
