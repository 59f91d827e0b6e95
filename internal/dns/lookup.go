package dns

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Lookup is one DNS lookup of a message with its answer, in the form that decision.Record contains. Its JSON names must not change.
type Lookup struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Status Status `json:"status"`
	// Records contains raw text for TXT, addresses for A and AAAA, "10 mx.example.org." for MX, and names with their final dot for PTR
	// and CNAME. Do not change Records, because the cache may use the same slice.
	Records   []string `json:"records,omitempty"`
	TTL       uint32   `json:"ttl_s,omitempty"`  // in seconds: the TTL in the answer, at most a day
	Authentic bool     `json:"dnssec,omitempty"` // the resolver validated the answer by DNSSEC
	Cached    bool     `json:"cached,omitempty"`
	Took      Millis   `json:"query_ms,omitempty"`  // 0 from the cache
	Cut       int      `json:"cut_bytes,omitempty"` // if records are missing in Records: the total size of all records in bytes; see Incomplete
}

// Millis is a duration whose JSON is a number of milliseconds with at most two decimals.
type Millis time.Duration

// millisUnit is the unit to which Millis is rounded.
const millisUnit = 10 * time.Microsecond

// MarshalJSON returns the number of milliseconds.
func (m Millis) MarshalJSON() ([]byte, error) { return m.Append(nil), nil }

// Append appends the number of milliseconds.
func (m Millis) Append(b []byte) []byte {
	units := time.Duration(m).Round(millisUnit) / millisUnit
	return strconv.AppendFloat(b, float64(units)/float64(time.Millisecond/millisUnit), 'f', -1, 64)
}

// UnmarshalJSON parses a number of milliseconds.
func (m *Millis) UnmarshalJSON(text []byte) error {
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return fmt.Errorf("a number of milliseconds: %w", err)
	}
	*m = Millis(time.Duration(f * float64(time.Millisecond)).Round(millisUnit))
	return nil
}

// Failed reports whether the lookup failed: the outcome is neither records nor NXDOMAIN nor NODATA.
func (l Lookup) Failed() bool {
	return l.Status != NoError && !l.Status.notFound() && l.Status != Forgotten
}

// lookup converts a to a Lookup with these records.
func (a asked) lookup(records []string, cut int) Lookup {
	return Lookup{Name: a.name, Type: dns.TypeToString[a.qtype], Status: a.answer.status(), Records: records, Cut: cut,
		TTL: uint32(a.answer.ttl / time.Second), Authentic: a.answer.authentic, Cached: a.cached, Took: Millis(a.took)}
}

func (a *answer) status() Status {
	if a.err == nil {
		return NoError
	}
	return Status(a.err.Err)
}

// records returns the records as texts.
func (a *answer) records() []string {
	switch {
	case len(a.text) > 0:
		return a.text
	case len(a.names) > 0:
		return a.names
	}
	var all []string
	for _, addr := range a.addrs {
		all = append(all, addr.String())
	}
	for _, m := range a.mx {
		all = append(all, fmt.Sprintf("%d %s", m.Pref, m.Host))
	}
	for _, t := range a.tlsa {
		all = append(all, fmt.Sprintf("%d %d %d %s", t.Usage, t.Selector, t.Matching, t.Data))
	}
	return all
}

// MaxShortened is the maximum size of a shortened answer, in bytes. The journal stores shortened answers. Two rows of this size fit into
// a page of 4 KiB. Policies and keys in use are shorter.
const MaxShortened = 2000

const (
	// noteRoom is the number of bytes that are reserved for a note on missing records.
	noteRoom = 64
	// recordRoom is the overhead of each record in the text that contains all records of an answer.
	recordRoom = 5
)

// Shorten returns the text of a record, cut to MaxShortened bytes. If the text was cut, it begins with a note that states the original
// size.
func Shorten(text string) string {
	if len(text) <= MaxShortened {
		return text
	}
	return fmt.Sprintf("(cut, %d bytes) ", len(text)) + strings.ToValidUTF8(text[:MaxShortened-noteRoom], "")
}

// Shorten returns l with at most MaxShortened bytes of records. It first omits TXT records without a version tag, because these are not
// policies. If the rest is still too large, it omits all records. With only some of the records, the checks of a message would have other
// results.
func (l Lookup) Shorten() Lookup {
	records, whole := shorten(l.Records, l.Type == "TXT")
	l.Records, l.Cut = records, max(l.Cut, whole)
	return l
}

// Incomplete reports whether missing records could affect the checks of a message. TXT records without a version tag could not, so an
// answer that lacks only such records is not incomplete.
func (l Lookup) Incomplete() bool { return l.Cut > 0 && len(l.Records) == 0 || l.Status == Forgotten }

// shorten returns the records that are kept. If it omits records, whole is the number of bytes of all records.
func shorten(records []string, text bool) (kept []string, whole int) {
	for _, r := range records {
		whole += len(r)
	}
	if whole+recordRoom*len(records) <= MaxShortened {
		return records, 0
	}
	if !text {
		return nil, whole
	}
	room := MaxShortened
	for _, tagged := range []bool{true, false} {
		for _, r := range records {
			switch fits := len(r)+recordRoom <= room; {
			case hasVersion(r) != tagged:
			case fits:
				kept = append(kept, r)
				room -= len(r) + recordRoom
			case tagged:
				return nil, whole
			}
		}
	}
	return kept, whole
}

// hasVersion reports whether a TXT record has a version tag, as SPF, DKIM and DMARC records do.
func hasVersion(record string) bool { return len(record) > 1 && strings.EqualFold(record[:2], "v=") }

// short is the result of shorten.
type short struct {
	records []string
	whole   int
}

// shortened returns the shortened records. The answer stores the texts, because computing them takes longer than the lookup.
func (a *answer) shortened() (records []string, whole int) {
	if s := a.short.Load(); s != nil {
		return s.records, s.whole
	}
	records, whole = shorten(a.records(), len(a.text) > 0)
	if whole > 0 || len(a.addrs)+len(a.mx)+len(a.tlsa) > 0 {
		a.short.Store(&short{records, whole})
	}
	return records, whole
}
