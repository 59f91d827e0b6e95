// Package lookup queries Postfix lookup tables through the socketmap protocol (socketmap_table(5)). Server is the server of the protocol, and
// Client is its client. Postmap looks up keys with postmap(1), for Server. Cache keeps the answers of Postmap or of Client, also on disk, so
// that an outage of a database changes nothing for known keys.
//
//	tables := lookup.NewCache(lookup.Postmap{}, lookup.CacheOptions{Log: log})
//	answer, err := tables.Lookup(ctx, "mysql:/etc/postfix/sql/domains.cf", "example.org")
package lookup

import (
	"context"
	"errors"
	"strings"
)

// Source looks up keys. Its methods may be called concurrently.
type Source interface {
	// Lookup looks up the key in a table, which is named as in main.cf: TYPE:NAME. A key that the table does not have is no error. Errors
	// are of type *Error.
	Lookup(ctx context.Context, table, key string) (Answer, error)
}

// Answer is the result of a successful lookup.
type Answer struct {
	Value string
	Found bool
}

// Kind is the kind of an Error. The values are those of socketmap_table(5).
type Kind string

// The kinds of errors.
const (
	Temporary Kind = "TEMP"
	Timeout   Kind = "TIMEOUT"
	Permanent Kind = "PERM" // the table or the key is not valid, so a retry has the same result
)

// Error is the error of a lookup that failed.
type Error struct {
	Kind   Kind
	Table  string
	Reason string // one line
}

func (e *Error) Error() string { return "looking up a key in " + e.Table + ": " + e.Reason }

// failed converts an error of the context or of the network to an *Error.
func failed(table string, err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case isTimeout(err):
		return &Error{Timeout, table, "timeout: no answer"}
	}
	return &Error{Temporary, table, err.Error()}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// MaxTable and maxKey limit the lengths of a name and a key.
const (
	MaxTable = 4 << 10 // bytes; an inline: or pipemap: table has its contents in the name
	maxKey   = 2 << 10 // bytes; line_length_limit of Postfix is 2048
)

// check returns the table without the prefix proxy:, because only Postfix's own processes can connect to proxymap(8). It returns an error if
// the table or the key is not valid.
func check(table, key string) (string, error) {
	name := strings.TrimPrefix(table, "proxy:")
	kind, rest, _ := strings.Cut(name, ":")
	switch {
	case kind == "" || rest == "" || strings.ContainsAny(kind, " \t/{"):
		return "", &Error{Permanent, table, "the table must have the form TYPE:NAME, such as mysql:/etc/postfix/sql/domains.cf"}
	case len(name) > MaxTable:
		return "", &Error{Permanent, table[:40] + "...", "the name of the table is too long"}
	case strings.ContainsAny(name, "\x00\r\n"):
		return "", &Error{Permanent, kind + ":", "the name of the table contains a control character"}
	case key == "":
		return "", &Error{Permanent, table, "the key is empty"}
	case len(key) > maxKey:
		return "", &Error{Permanent, table, "the key is too long"}
	case strings.ContainsAny(key, "\x00\r\n"):
		return "", &Error{Permanent, table, "the key contains a control character"}
	}
	return name, nil
}

// Valid returns an error if no key can be looked up in a table through signpost tables serve, or through the server of a socketmap.
func Valid(table string) error {
	if strings.HasPrefix(table, "socketmap:") {
		_, err := ParseSocketmap(table)
		return err
	}
	name, err := check(table, "key")
	var e *Error
	switch {
	case errors.As(err, &e):
		return errors.New(e.Reason)
	case err != nil:
		return err
	}
	if sent, _, _ := splitRequest(name + " key"); sent != name {
		return errors.New("the name of the table contains a space or a brace that socketmap_table(5) cannot send")
	}
	return nil
}
