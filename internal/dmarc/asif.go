package dmarc

// Source returns the tag that sets the published policy, as "p=reject at example.org", or the fault that makes it none. at
// is the name of the record.
func (r Result) Source(at string) string {
	if r.Fault != "" {
		return "none at " + at + ": " + r.Fault
	}
	return r.Tag + "=" + string(r.Published) + " at " + at
}

// AsIf gives the result as it would be had a domain that asks for nothing published another policy. What asks for something,
// and what has no policy, is as it was.
func (r Result) AsIf(p Policy) Result {
	if r.Published != PolicyNone {
		return r
	}
	r.Published, r.Policy, r.Fault = p, p, ""
	if r.Testing {
		r.Policy = p.soften()
	}
	return r
}
