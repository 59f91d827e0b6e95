package dmarc

import "context"

// Organization finds the Organizational Domain of a name (RFC 9989 section 4.10.2), and the names whose records the walk
// met, longest first, for a person who reads along.
func Organization(ctx context.Context, r Resolver, from string) (domain string, met []string, err error) {
	all, err := walk(ctx, r, from)
	if err != nil {
		return "", nil, err
	}
	for _, f := range all {
		met = append(met, f.domain)
	}
	domain, _ = organizational(from, all)
	return domain, met, nil
}

// Found is the policy that was found, before anybody is held to it: Status is empty where there is one.
func (d *Discovery) Found() Result { return d.result }
