package spf

import (
	"context"
	"iter"
	"slices"
	"strings"
)

// maxWalk is the number of terms with DNS lookups after which a walk ends. It is far above MaxTerms, so that the owner of a record sees by
// how much the record exceeds the limit.
const maxWalk = 60

// Node is a term of an SPF record, with its place in the tree of records.
type Node struct {
	Directive        // also for redirect=
	Depth     int    // number of include and redirect terms that lead to its record
	Lookups   int    // number of terms with DNS lookups so far, including this one
	Target    string // the name that the term looks up, as written; empty if there is no name, or if the name depends on the message
	Record    string // include and redirect: the record of Target
	Err       error  // a *Fault. TreeTooLarge: the walk skips the rest of this record. Other causes: why the record of Target is not visited
}

// AsksDNS reports whether a mechanism counts toward the limit on terms with DNS lookups (RFC 7208 section 4.6.4).
func (m Mechanism) AsksDNS() bool { return m != All && m != IP4 && m != IP6 }

// Walk returns the terms of a domain's record. After an include or redirect, it returns the terms of that record. The order is that of a
// check in which no term matches. The walk always ends: it does not follow loops and, after maxWalk terms, skips the rest of each record.
// If r is nil, it visits only the first record.
func Walk(ctx context.Context, r Resolver, domain string, record *Record) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		w := &walk{resolver: r, yield: yield}
		w.record(ctx, domain, record)
	}
}

type walk struct {
	resolver Resolver
	yield    func(Node) bool
	path     []string // the records that lead here, in lower case
	lookups  int
}

// record visits the terms of a record and reports whether the walk continues.
func (w *walk) record(ctx context.Context, domain string, r *Record) bool {
	w.path = append(w.path, strings.ToLower(domain))
	defer func() { w.path = w.path[:len(w.path)-1] }()
	for _, d := range r.terms {
		n := Node{Directive: d, Depth: len(w.path) - 1}
		if d.Mechanism.AsksDNS() {
			if w.lookups == maxWalk {
				n.Lookups, n.Err = w.lookups, &Fault{Cause: TreeTooLarge}
				return w.yield(n)
			}
			w.lookups++
			if d.Mechanism != PTR && !d.Domain.HasMacros() {
				n.Target = d.Domain.Name(domain)
			}
		}
		n.Lookups = w.lookups
		var below *Record
		if w.resolver != nil && n.Target != "" && (d.Mechanism == Include || d.Mechanism == Redirect) {
			below = w.follow(ctx, &n)
		}
		if !w.yield(n) || below != nil && !w.record(ctx, n.Target, below) {
			return false
		}
		if d.Mechanism == All {
			break // section 5.1: terms after "all" are ignored, and so is redirect=
		}
	}
	return true
}

// follow looks up the record that a term leads to.
func (w *walk) follow(ctx context.Context, n *Node) *Record {
	if slices.Contains(w.path, strings.ToLower(n.Target)) {
		n.Err = &Fault{Cause: RecordLoop}
		return nil
	}
	record, text, err := Find(ctx, w.resolver, n.Target)
	switch {
	case err != nil:
		n.Err = err
	case record == nil:
		n.Err = &Fault{Cause: NoRecord}
	default:
		n.Record = text
	}
	return record
}
