package worker

import (
	"cmp"
	"context"
	"slices"
	"time"

	"signpost/internal/dmarc"
	"signpost/internal/report/read"
	"signpost/internal/report/received"
	"signpost/internal/report/status"
)

const (
	// policyAge is the age of the reports whose policy is compared: those about yesterday, and about the day before.
	policyAge = 72 * time.Hour
	// settled is how long a policy must have been in DNS, so that caches and reports of the time before do not count.
	settled = 48 * time.Hour
	// refresh is the time between two lookups of a policy; recheck is the time before the policy is compared with another one in a report.
	refresh = 24 * time.Hour
	recheck = time.Hour
	// differing is the number of reporters that must see another policy, unless all do. A single one may have a fault of its own.
	differing = 2
)

// policies compares the policies in reports with those in DNS. seen is sorted by domain.
func (w *Worker) policies(ctx context.Context, seen []received.SeenPolicy) (all []status.Alarm, err error) {
	asking, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	asked := 0
	for len(seen) > 0 {
		name := seen[0].Domain
		n := slices.IndexFunc(seen, func(p received.SeenPolicy) bool { return p.Domain != name })
		if n < 0 {
			n = len(seen)
		}
		some := seen[:n]
		seen = seen[n:]
		found, err := w.Store.Lookup(ctx, received.LookupPolicy, name)
		if err != nil {
			return nil, err
		}
		age := w.Now().Sub(found.At)
		if (age > refresh || age > recheck && policyDiffers(some, found, w.Now()) != nil) && asked < maxLookups && asking.Err() == nil {
			asked++
			if text, err := w.policy(asking, name); err == nil {
				if found, err = w.Store.SetLookup(ctx, received.LookupPolicy, name, text); err != nil {
					return nil, err
				}
			}
		}
		if a := policyDiffers(some, found, w.Now()); a != nil {
			all = append(all, *a)
		}
	}
	return all, nil
}

// policy looks up the DMARC record of a domain. It returns an empty text if there is none, or several.
func (w *Worker) policy(ctx context.Context, name string) (text string, err error) {
	texts, err := w.Resolver.LookupTXT(ctx, "_dmarc."+name)
	if notFound(err) {
		return "", nil
	}
	for _, t := range texts {
		if r, ok := dmarc.ParseRecord(t); !ok || r.Broken {
			continue
		}
		if text != "" {
			return "", err
		}
		text = t
	}
	return text, err
}

// policyDiffers returns an alarm if reporters see another policy of a domain than the one that was found in DNS, and that was there before the
// range of their reports began. It returns nil if the policy is new, or was not found in the last two days.
func policyDiffers(seen []received.SeenPolicy, found received.Lookup, now time.Time) *status.Alarm {
	if found.At.IsZero() || now.Sub(found.At) > settled || now.Sub(found.Since) < settled {
		return nil
	}
	record, ok := dmarc.ParseRecord(found.Value)
	all := bundles{}
	compared, differ := 0, 0
	for _, p := range seen {
		if p.Policy.P == "" || p.Begin.Before(found.Since) {
			continue
		}
		compared++
		if ok && same(p.Policy, record) {
			continue
		}
		differ++
		b := all.add(status.Alarm{Code: status.PolicyDiffers, Domain: p.Domain}, p.Evidence, 0)
		if b.Seen = seenText(p.Policy); ok {
			b.Published = publishedText(record)
		}
	}
	if differ == 0 || differ < differing && differ < compared {
		return nil
	}
	a := all.sorted()[0].finish(0)
	return &a
}

// same compares the tags that a report has. The tags pct and fo do not matter, and many reporters do not know np and t.
func same(p read.Policy, r *dmarc.Record) bool {
	is := func(seen, published string) bool { return seen == "" || seen == published }
	return is(p.P, string(r.P)) && is(p.SP, string(cmp.Or(r.SP, r.P))) && is(p.ADKIM, mode(r.StrictDKIM)) && is(p.ASPF, mode(r.StrictSPF))
}

func mode(strict bool) string {
	if strict {
		return "s"
	}
	return "r"
}

func publishedText(r *dmarc.Record) string {
	return seenText(read.Policy{P: string(r.P), SP: string(cmp.Or(r.SP, r.P)), ADKIM: mode(r.StrictDKIM), ASPF: mode(r.StrictSPF)})
}

// seenText returns the tags of a policy that same compares, without those that have their default.
func seenText(p read.Policy) string {
	text := "p=" + p.P
	if p.SP != "" && p.SP != p.P {
		text += " sp=" + p.SP
	}
	if p.ADKIM != "" && p.ADKIM != "r" {
		text += " adkim=" + p.ADKIM
	}
	if p.ASPF != "" && p.ASPF != "r" {
		text += " aspf=" + p.ASPF
	}
	return text
}
