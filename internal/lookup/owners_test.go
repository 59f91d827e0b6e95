package lookup

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

// The keys have the order of mail_addr_find(3).
func TestOwnerKeys(t *testing.T) {
	for _, test := range []struct {
		what, delimiter, local string
		forms                  []string
		want                   string
	}{
		{"an address", "", "ann", []string{"example.org"}, "ann@example.org @example.org"},
		{"case", "", "Ann", []string{"example.org"}, "ann@example.org @example.org"},
		{"SMTPUTF8", "", "JÜRGEN", []string{"example.org"}, "jürgen@example.org @example.org"},
		{"an extension", "+", "ann+shop", []string{"example.org"}, "ann+shop@example.org ann@example.org @example.org"},
		{"no delimiter", "", "ann+shop", []string{"example.org"}, "ann+shop@example.org @example.org"},
		{"two delimiters", "-+", "ann-shop+x", []string{"example.org"}, "ann-shop+x@example.org ann@example.org @example.org"},
		{"the delimiter first", "+", "+ann", []string{"example.org"}, "+ann@example.org @example.org"},
		{"Postfix itself", "-", "mailer-daemon", []string{"example.org"}, "mailer-daemon@example.org @example.org"},
		{"a list owner", "-", "owner-list", []string{"example.org"}, "owner-list@example.org @example.org"},
		{"a list", "-", "list-request", []string{"example.org"}, "list-request@example.org @example.org"},
		{"a local domain", "+", "ann+x", []string{"host.example"}, "ann+x@host.example ann@host.example ann+x ann @host.example"},
		{"U-labels", "", "ann", []string{"xn--bcher-kva.example", "bücher.example"},
			"ann@xn--bcher-kva.example ann@bücher.example @xn--bcher-kva.example @bücher.example"},
		{"quotes", "", `"a b"`, []string{"example.org"}, `"a b"@example.org|a b@example.org|@example.org`},
		{"a quoted quote", "", `"a\"b"`, []string{"example.org"}, `"a\"b"@example.org|a"b@example.org|@example.org`},
		{"quotes and an extension", "+", `"a b+c"`, []string{"example.org"},
			`"a b+c"@example.org|a b+c@example.org|"a b"@example.org|a b@example.org|@example.org`},
	} {
		separator := " "
		if strings.Contains(test.want, "|") {
			separator = "|"
		}
		o := Owners{Delimiter: test.delimiter, Local: []string{"Host.example"}}
		if got := o.keys(test.local, test.forms); strings.Join(got, separator) != test.want {
			t.Errorf("%s: keys %q, want %s", test.what, got, test.want)
		}
	}
}

// byKey is a source with entries "TABLE KEY". The value "error" is a failure.
type byKey map[string]string

func (b byKey) Lookup(_ context.Context, table, key string) (Answer, error) {
	value, found := b[table+" "+key]
	if value == "error" {
		return Answer{}, errors.New("down")
	}
	return Answer{value, found}, nil
}

// The first table with the most specific key decides. After a failed lookup, no less specific key is used.
func TestOwners(t *testing.T) {
	source := byKey{"a:1 @example.org": "all", "b:2 ann@example.org": "ann@example.org, bob\tcarl", "a:1 dan@example.org": "error", "b:2 eve@example.org": ""}
	o := Owners{Source: source, Names: []string{"a:1", "b:2"}}
	for _, test := range []struct {
		local  string
		logins []string
		table  string
		found  bool
		failed bool
	}{
		{"ann", []string{"ann@example.org", "bob", "carl"}, "b:2", true, false},
		{"zoe", []string{"all"}, "a:1", true, false},
		{"dan", nil, "a:1", false, true},
		{"eve", nil, "b:2", true, false}, // an entry without logins: no login may use the address
	} {
		logins, table, found, err := o.Find(t.Context(), test.local, []string{"example.org"})
		if !slices.Equal(logins, test.logins) || table != test.table || found != test.found || (err != nil) != test.failed {
			t.Errorf("%s: %q in %q, found %t, error %v", test.local, logins, table, found, err)
		}
	}
	if _, _, found, err := o.Find(t.Context(), "ann", []string{"example.net"}); found || err != nil {
		t.Errorf("ann@example.net: found %t, error %v", found, err)
	}
}
