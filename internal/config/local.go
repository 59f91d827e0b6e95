package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/pelletier/go-toml/v2"
)

// LocalRule is one [[allow]] or [[deny]]. If it has a Domain and a Network, both must match.
type LocalRule struct {
	Domain  string       // the Author Domain or a parent of it; empty: any
	Network netip.Prefix // zero: any
	Comment string
	Expires time.Time // the end of the given day, UTC
}

// maxComment is the maximum length of a comment in bytes, so that it fits into a log line.
const maxComment = 120

// localRules reads the tables of [[allow]] or [[deny]].
func (p *reader) localRules(key string, v any) (rules []LocalRule) {
	p.entries(key, v, "an exception expires unless it is renewed", func(at string, table map[string]any) {
		var r LocalRule
		for _, k := range slices.Sorted(maps.Keys(table)) {
			if err := r.set(k, table[k]); err != nil {
				p.fault(at+"."+k, err.Error())
			}
		}
		if table["domain"] == nil && table["network"] == nil {
			p.fault(at, "must have a domain, a network, or both")
		}
		rules = append(rules, r)
	})
	return rules
}

// entries calls read for each table of the list at key. Each table must have a comment and an expiry date. The parameter why states why a
// date is required; the error contains it.
func (p *reader) entries(key string, v any, why string, read func(at string, table map[string]any)) {
	tables, ok := v.([]any)
	if !ok {
		p.fault(key, "must be a list of tables: write [["+key+"]] on a line of its own for each entry")
	}
	for i, v := range tables {
		at := fmt.Sprintf("%s[%d]", key, i+1)
		table, ok := v.(map[string]any)
		if !ok {
			p.fault(at, "must be a table: write [["+key+"]] on a line of its own for each entry")
			continue
		}
		if table["comment"] == nil {
			p.fault(at, "must have a comment that states why the entry exists")
		}
		if table["expires"] == nil {
			p.fault(at, "must have expires, a date like 2027-03-31: "+why)
		}
		read(at, table)
	}
}

func (r *LocalRule) set(key string, v any) (err error) {
	switch key {
	case "domain":
		var s string
		if err = text(&s, v); err == nil {
			r.Domain, err = domainName(s)
		}
	case "network":
		var all []netip.Prefix
		if err = networks(&all, []any{v}); err == nil {
			r.Network = all[0]
		}
	case "comment":
		if err = text(&r.Comment, v); err == nil && (strings.TrimSpace(r.Comment) == "" || len(r.Comment) > maxComment || strings.ContainsFunc(r.Comment, unicode.IsControl)) {
			err = fmt.Errorf("must be one line of 1 to %d bytes", maxComment)
		}
	case "expires":
		r.Expires, err = endOfDay(v)
	default:
		err = errors.New("unknown key; use domain, network, comment or expires")
	}
	return err
}

func endOfDay(v any) (time.Time, error) {
	var day time.Time
	var err error
	switch v := v.(type) {
	case toml.LocalDate:
		day = v.AsTime(time.UTC)
	case string:
		day, err = time.Parse(time.DateOnly, v)
	default:
		err = errors.New("not a date")
	}
	if err != nil {
		return time.Time{}, errors.New("must be a date, like 2027-03-31")
	}
	return day.AddDate(0, 0, 1), nil
}

// dmarcDomains reads [dmarc.domain.NAME].
func (p *reader) dmarcDomains(tree map[string]any) {
	p.config.DMARC.RejectFor = map[string]string{}
	p.domainTables("dmarc.domain", tree, func(key, domain string, table map[string]any) {
		for _, k := range slices.Sorted(maps.Keys(table)) {
			reject := ""
			if k != "reject" {
				p.fault(key+"."+k, "unknown key; only reject can be set for a domain")
			} else if err := word(&reject, table[k], "evidence", "always", "never"); err != nil {
				p.fault(key+"."+k, err.Error())
			} else {
				p.config.DMARC.RejectFor[domain] = reject
			}
		}
	})
}
