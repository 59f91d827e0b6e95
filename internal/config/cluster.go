package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Cluster is [cluster].
type Cluster struct {
	Database DatabaseURL   // empty: this host does not belong to a cluster
	Name     string        // of this host in the cluster; empty: the short host name
	KeyFile  string        // the site keys
	Socket   string        // the path of the control socket of signpost cluster run
	Ship     string        // failed or none
	Keep     time.Duration // of the copies of messages; 0: journal.keep
}

// DatabaseURL is the URL of a database. It may contain a password, so String hides the password. Only a conversion to string returns it.
type DatabaseURL string

// String returns the URL, with xxxxx in place of the password.
func (u DatabaseURL) String() string {
	parsed, err := url.Parse(string(u))
	if err != nil {
		return "(not valid)"
	}
	if q := parsed.Query(); q.Has("password") {
		q.Set("password", "xxxxx")
		parsed.RawQuery = q.Encode()
	}
	return parsed.Redacted()
}

// GoString implements fmt.GoStringer for %#v.
func (u DatabaseURL) GoString() string { return u.String() }

// Password reports whether the URL contains a password.
func (u DatabaseURL) Password() bool {
	parsed, err := url.Parse(string(u))
	if err != nil {
		return false
	}
	_, given := parsed.User.Password()
	return given || parsed.Query().Has("password")
}

func database(to *DatabaseURL, v any) (err error) {
	var s string
	if err = text(&s, v); err == nil {
		*to, err = ParseDatabaseURL(s)
	}
	return err
}

// ParseDatabaseURL parses the URL of a database; it may be "". The errors begin with a verb, and do not contain the URL, because of the
// password.
func ParseDatabaseURL(s string) (DatabaseURL, error) {
	const example = `, like "postgres://signpost:PASSWORD@db.example.org/signpost?sslmode=verify-full" or "mysql://signpost:PASSWORD@db.example.org:3306/signpost"`
	scheme, _, _ := strings.Cut(s, "://")
	u, err := url.Parse(s)
	switch {
	case s == "":
	case scheme != "postgres" && scheme != "mysql":
		return "", errors.New("must be a URL with the scheme postgres or mysql" + example)
	case err != nil || u.Fragment != "":
		return "", errors.New("is not a valid URL; write special characters of the password as %XX: @ is %40, # is %23, / is %2F, ? is %3F, % is %25")
	case u.User.Username() == "":
		return "", errors.New("has no user" + example)
	case u.Host == "" && !u.Query().Has("host"):
		return "", errors.New("has no host" + example)
	case strings.Trim(u.Path, "/") == "" || strings.Contains(strings.TrimPrefix(u.Path, "/"), "/"):
		return "", errors.New("must have the name of one database after the host" + example)
	}
	return DatabaseURL(s), nil
}

// maxClusterName is the maximum length of the name of a host in bytes. It is the size of the column in the database.
const maxClusterName = 64

func clusterName(to *string, v any) error {
	var s string
	if err := text(&s, v); err != nil {
		return err
	}
	if s != "" && !validClusterName(s) {
		return fmt.Errorf("%.80q must have 1 to %d letters, digits, hyphens, dots and underscores, and begin with a letter or digit", s, maxClusterName)
	}
	*to = strings.ToLower(s)
	return nil
}

func validClusterName(s string) bool {
	const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return s != "" && len(s) <= maxClusterName && strings.Trim(s, alphanumeric+"-._") == "" && strings.Contains(alphanumeric, s[:1])
}

func socketPath(to *string, v any) error {
	var s string
	if err := absolute(&s, v, false); err != nil {
		return err
	}
	if len(s) > maxSocketPath {
		return fmt.Errorf("%q is too long; a socket path has at most %d bytes", s, maxSocketPath)
	}
	*to = s
	return nil
}

// ClusterName returns the name of this host in the cluster: cluster.name, or the first label of the host name.
func (c *Config) ClusterName() (string, error) {
	if c.Cluster.Name != "" {
		return c.Cluster.Name, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("cluster.name is not set, and this host has no name: %w", err)
	}
	name, _, _ := strings.Cut(strings.ToLower(host), ".")
	if !validClusterName(name) {
		return "", fmt.Errorf("cluster.name is not set, and the host name %.80q is not a valid name", host)
	}
	return name, nil
}

// copiesKept reads cluster.keep.
func copiesKept(to *time.Duration, v any) error {
	if v == "" {
		*to = 0
		return nil
	}
	return duration(to, v, time.Hour, 3650*day)
}

// CopiesKept returns how long the database of the cluster keeps the copies of messages.
func (c *Config) CopiesKept() time.Duration { return cmp.Or(c.Cluster.Keep, c.Journal.Keep) }

// HashKeyFile returns the path of the file with the key of the words that replace addresses, if journal.addresses is hash: the hosts of a
// cluster have the same words.
func (c *Config) HashKeyFile() string { return filepath.Join(c.ClusterDir(), "hash.key") }

// Clustered reports whether this host belongs to a cluster.
func (c *Config) Clustered() bool { return c.Cluster.Database != "" }

// ClusterDir returns the directory of the state of the cluster on this host.
func (c *Config) ClusterDir() string { return filepath.Join(c.StateDir, "cluster") }

// SharedFile returns the path of the file with the rules that the hosts of a cluster share.
func (c *Config) SharedFile() string { return filepath.Join(c.ClusterDir(), "rules.toml") }
