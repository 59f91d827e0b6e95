package dmarc

// AsIf gives the result as it would be had a domain that asks for nothing published another policy. What asks for something,
// and what has no policy, is as it was.
func (r Result) AsIf(p Policy) Result {
	if r.Published != PolicyNone {
		return r
	}
	r.Published, r.Policy = p, p
	if r.Testing {
		r.Policy = p.soften()
	}
	return r
}
