package domain

import (
	"context"
	"slices"
	"strings"

	"signpost/internal/dmarc"
	"signpost/internal/doctor"
	"signpost/internal/domain"
)

// maxAliases is how many CNAME records of a name are followed. Resolvers follow about as many.
const maxAliases = 8

// inPlace is the comment of a line that is published in place of a CNAME record: RFC 1034 section 3.6.2 allows no other record there.
const inPlace = " ; in place of the CNAME record"

// chain is the CNAME records that a lookup of a name follows.
type chain struct {
	names []string // the name, and the target of each record; one name: it has no CNAME record
	loops bool     // the last target is an earlier name, or there are more than maxAliases
}

// chainOf returns the CNAME records of a name, as far as they can be looked up.
func (l *examination) chainOf(ctx context.Context, name string) chain {
	c := chain{names: []string{strings.ToLower(name)}}
	for {
		target, err := l.view.LookupCNAME(ctx, c.end())
		if err != nil || target == "" {
			return c
		}
		target = strings.ToLower(strings.TrimSuffix(target, "."))
		c.loops = slices.Contains(c.names, target) || len(c.names) > maxAliases
		if c.names = append(c.names, target); c.loops {
			return c
		}
	}
}

// end returns the name that has the records.
func (c chain) end() string { return c.names[len(c.names)-1] }

func (c chain) isAlias() bool { return len(c.names) > 1 }

// lines returns the CNAME records as lines of a zone file.
func (c chain) lines() string {
	var all []string
	for i, target := range c.names[1:] {
		all = append(all, c.names[i]+". IN CNAME "+target+".")
	}
	return strings.Join(all, "\n")
}

// absent returns the text of Where for an alias that leads to no record of a type.
func (c chain) absent(kind string) string {
	if c.loops {
		return c.lines() + "\nthe CNAME records form a loop"
	}
	return c.lines() + "\n" + c.end() + ": no " + kind + " record"
}

// nowhere changes a finding about the TXT record that a name lacks, if the name is an alias: the finding names the CNAME records, and
// its line is for the name where the record belongs. text is the value of the record.
func (l *examination) nowhere(ctx context.Context, name, subject, text string, f doctor.Finding) doctor.Finding {
	c := l.chainOf(ctx, name)
	if !c.isAlias() {
		return f
	}
	f.What, f.Where, f.Fix = subject+" is an alias that leads nowhere", c.absent("TXT"), record(name, text)+inPlace
	if f.Cause != "" {
		f.Cause = "an alias that leads nowhere"
	}
	if !c.loops && l.controls(ctx, c.end()) {
		f.Fix = record(c.end(), text)
	}
	return f
}

// controls reports whether a name belongs to the organization of the domain or to the domain of this host.
func (l *examination) controls(ctx context.Context, name string) bool {
	org, _, err := dmarc.Organization(ctx, l.view, l.domain)
	if err != nil || !strings.Contains(org, ".") {
		org = l.domain
	}
	if domain.Within(name, org) {
		return true
	}
	if l.own == nil || !fullName(l.own.HELO) {
		return false
	}
	_, above, _ := strings.Cut(l.heloName(), ".")
	return strings.Contains(above, ".") && domain.Within(name, above)
}
