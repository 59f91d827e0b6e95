package domain

import (
	"context"
	"slices"
	"strings"

	"signpost/internal/dmarc"
	"signpost/internal/doctor"
	"signpost/internal/domain"
)

// maxAliases is the maximum number of CNAME records that chainOf follows. Resolvers follow about as many.
const maxAliases = 8

// replaced is the comment of a line that replaces a CNAME record. RFC 1034 section 3.6.2 does not allow another record at the same name.
const replaced = "in place of the CNAME record"

// chain is a name and the CNAME records that a lookup of it follows.
type chain struct {
	names []string // the name, followed by the target of each CNAME record; only one element if there is no CNAME record
	loops bool     // the last target is an earlier name, or there are more than maxAliases
}

// chainOf returns the CNAME records of a name. The chain ends early if a lookup fails.
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

// end returns the last target, or the name itself if there is no CNAME record.
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

// absent returns the text of Where if the target of an alias has no record of the type kind.
func (c chain) absent(kind string) string {
	if c.loops {
		return c.lines() + "\nthe CNAME records form a loop"
	}
	return c.lines() + "\n" + c.end() + ": no " + kind + " record"
}

// nowhere returns f, a finding about a missing TXT record. If the name is an alias, it adds the CNAME records to the finding.
func (l *examination) nowhere(ctx context.Context, name, subject string, f doctor.Finding) doctor.Finding {
	c := l.chainOf(ctx, name)
	if !c.isAlias() {
		return f
	}
	f.What, f.Where = subject+" is an alias without a TXT record at its target", c.absent("TXT")
	if f.Cause != "" {
		f.Cause = "an alias without a TXT record at its target"
	}
	return f
}

// placed returns the lines of a Fix with names at which the records can be published. A name with a CNAME record cannot have another
// record. If the target of the alias belongs to this site, placed changes the name in the line to the target. Otherwise it adds a comment:
// the new record replaces the CNAME record.
func (l *examination) placed(ctx context.Context, fix string) string {
	lines := strings.Split(fix, "\n")
	for i, line := range lines {
		name, rest, isRecord := strings.Cut(line, ". IN ")
		gone := strings.HasPrefix(name, "; remove ")
		c := chain{}
		if name = strings.TrimPrefix(name, "; remove "); isRecord && !strings.HasPrefix(rest, "CNAME ") && !strings.HasSuffix(rest, replaced) {
			c = l.chainOf(ctx, name)
		}
		switch {
		case !c.isAlias():
		case gone:
			lines[i] = "; remove " + c.end() + ". IN " + rest
		case !c.loops && l.controls(ctx, c.end()):
			lines[i] = c.end() + ". IN " + rest
		default:
			lines[i] = line + " ; " + replaced
		}
	}
	return strings.Join(lines, "\n")
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
