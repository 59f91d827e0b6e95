package report

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/domain"
)

// Limits of one report.
const (
	// maxRows is the maximum number of rows. A sender can cause any number of different rows.
	maxRows = 10_000
	// maxBytes is the maximum size of the rows in memory. The XML is about as large, and stays below the 25 MiB to which receivers limit
	// a report.
	maxBytes = 8 << 20
	// maxRefused is the number of Author Domains of refused mail for which the journal is searched.
	maxRefused = 16

	groupBytes     = 2 << 10 // the approximate size of a group without its rows
	rowBytes       = 500     // the approximate size of a row without its texts, in memory or as XML
	signatureBytes = 150
	reasonBytes    = 100
)

// folding is the degree to which rows of a report are made equal because there are too many.
type folding int

const (
	unfolded       folding = iota
	foldSignatures         // failing signatures of other domains are omitted
	foldEnvelope           // envelope_from is omitted too, and SPF domains outside of the Policy Domain
)

// group collects one report.
type group struct {
	hash   uint64
	policy Policy

	rows    []*Row
	index   map[[16]byte]*Row
	bytes   int
	folding folding

	required bool            // a row is not optional
	refused  map[string]bool // Author Domains of refused mail
	messages int
	omitted  int
	temp     int // messages with a temperror
}

func newGroup(p Policy, hash uint64) *group {
	return &group{hash: hash, policy: p, index: map[[16]byte]*Row{}, refused: map[string]bool{}, bytes: groupBytes}
}

// add counts a message with its row.
func (g *group) add(r Row, own bool) {
	switch {
	case own:
	case r.Disposition == DispositionReject && !r.DKIM && !r.SPF:
		if len(g.refused) < maxRefused {
			g.refused[r.HeaderFrom] = true
		}
	default:
		g.required = true
	}
	g.insert(&r)
}

// insert counts the messages of a row.
func (g *group) insert(r *Row) {
	for !g.put(r) {
		if g.folding == foldEnvelope {
			g.omitted += r.Count
			return
		}
		g.fold()
	}
	g.messages += r.Count
}

// put adds a row, or adds its count to an equal row. It returns false if the group is full.
func (g *group) put(r *Row) bool {
	folded(r, g.folding, g.policy.Domain)
	key := r.key()
	if equal := g.index[key]; equal != nil {
		equal.Count += r.Count
		return true
	}
	size := r.size()
	if len(g.rows) >= maxRows || g.bytes+size > maxBytes {
		return false
	}
	g.rows, g.index[key] = append(g.rows, r), r
	g.bytes += size
	return true
}

// fold makes more rows equal.
func (g *group) fold() {
	all := g.rows
	g.rows, g.index, g.bytes = nil, map[[16]byte]*Row{}, groupBytes
	g.folding++
	for _, r := range all {
		g.put(r) // there is room, because no row becomes larger
	}
}

// folded omits what a degree of folding omits from a row.
func folded(r *Row, f folding, policyDomain string) {
	if f >= foldSignatures {
		r.Signatures = slices.DeleteFunc(r.Signatures, func(s Signature) bool { return s.Result != dkim.Pass && !domain.Within(s.Domain, policyDomain) })
	}
	if f >= foldEnvelope {
		r.EnvelopeFrom, r.Folded = "", true
		if !r.SPF && !domain.Within(r.SPFDomain, policyDomain) {
			r.SPFDomain, r.SPFResult = "", ""
		}
	}
}

// key returns a hash of everything in a row but its count.
func (r *Row) key() (key [16]byte) {
	var buffer [1024]byte
	b := buffer[:0]
	text := func(all ...string) {
		for _, s := range all {
			b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
		}
	}
	flag := func(set bool) {
		if b = append(b, 0); set {
			b[len(b)-1] = 1
		}
	}
	text(string(r.Source.AsSlice()), string(r.Disposition), r.HeaderFrom, r.EnvelopeFrom, r.SPFDomain, string(r.SPFResult))
	flag(r.DKIM)
	flag(r.SPF)
	flag(r.Folded)
	b = binary.AppendUvarint(b, uint64(len(r.Reasons)))
	for _, why := range r.Reasons {
		text(string(why.Type), why.Comment)
	}
	for _, s := range r.Signatures {
		text(s.Domain, s.Selector, string(s.Result))
	}
	sum := sha256.Sum256(b)
	return [16]byte(sum[:])
}

// size returns the approximate size of a row in bytes.
func (r *Row) size() int {
	n := rowBytes + len(r.HeaderFrom) + len(r.EnvelopeFrom) + len(r.SPFDomain) + reasonBytes*len(r.Reasons)
	for _, s := range r.Signatures {
		n += signatureBytes + len(s.Domain) + len(s.Selector)
	}
	return n
}

// report returns the report. optional states whether each row is optional.
func (g *group) report(day time.Time, optional bool) *Report {
	rows := make([]Row, len(g.rows))
	for i, r := range g.rows {
		rows[i] = *r
	}
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(b.Count, a.Count) })
	return &Report{Day: day, Policy: g.policy, Rows: rows, Optional: optional, Messages: g.messages, Omitted: g.omitted, TempErrors: g.temp}
}

// newPolicy returns the policy that a record publishes at a domain.
func newPolicy(at string, r *dmarc.Record) Policy {
	sp := cmp.Or(r.SP, r.P)
	return Policy{Domain: at, P: r.P, SP: sp, NP: cmp.Or(r.NP, sp), FO: r.FO, StrictDKIM: r.StrictDKIM, StrictSPF: r.StrictSPF, Testing: r.Testing, Faulty: r.Fault != nil}
}

// configuration returns a text that differs for different policies.
func (p Policy) configuration() string {
	flag := func(set bool) string {
		if set {
			return "1"
		}
		return "0"
	}
	return p.Domain + " " + string(p.P) + " " + string(p.SP) + " " + string(p.NP) + " " + p.FO + " " +
		flag(p.StrictDKIM) + flag(p.StrictSPF) + flag(p.Testing) + flag(p.Faulty)
}

// hash returns a number for the order of groups. A sender cannot choose domains with equal numbers.
func (p Policy) hash() uint64 {
	sum := sha256.Sum256([]byte(p.configuration()))
	return binary.BigEndian.Uint64(sum[:])
}
