package dns

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Lookup is one question of a message and its answer, as it is recorded. Its JSON names are final.
type Lookup struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Status Status `json:"status"`
	// Records are raw texts of TXT, addresses of A and AAAA, "10 mx.example.org." of MX, and names with their final dot of PTR and CNAME.
	// They may be shared with the cache: do not change them.
	Records   []string `json:"records,omitempty"`
	TTL       uint32   `json:"ttl_s,omitempty"`  // in seconds, as it was received, at most a day
	Authentic bool     `json:"dnssec,omitempty"` // the resolver validated it by DNSSEC
	Cached    bool     `json:"cached,omitempty"`
	Took      Millis   `json:"query_ms,omitempty"`  // 0 from the cache
	Cut       int      `json:"cut_bytes,omitempty"` // bytes of all records, if Records lacks some; see Incomplete
}

// Millis is a duration that JSON has in milliseconds. Two decimals are enough for a query, and the journal has many of them.
type Millis time.Duration

// millisUnit is what Millis is rounded to.
const millisUnit = 10 * time.Microsecond

// MarshalJSON returns the number of milliseconds.
func (m Millis) MarshalJSON() ([]byte, error) {
	units := time.Duration(m).Round(millisUnit) / millisUnit
	return strconv.AppendFloat(nil, float64(units)/float64(time.Millisecond/millisUnit), 'f', -1, 64), nil
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

// Failed reports whether the lookup failed: the answer is neither records nor that there are none.
func (l Lookup) Failed() bool {
	return l.Status != NoError && !l.Status.notFound() && l.Status != Forgotten
}

// lookup returns a as it is recorded, with these records.
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

// MaxShortened is the size in bytes of a shortened answer, which is what the journal stores. Two rows of this size fit a page of 4 KiB of the
// journal's database; a row of 2 KiB needs a page of its own. Policies and keys in use are shorter.
const MaxShortened = 2000

const (
	// noteRoom is the room for a note on what is missing.
	noteRoom = 64
	// recordRoom is the room that each record takes beside its text, where the records of an answer are stored as one text.
	recordRoom = 5
)

// Shorten cuts the text of a record to MaxShortened bytes. A note with the size precedes a text that was cut.
func Shorten(text string) string {
	if len(text) <= MaxShortened {
		return text
	}
	return fmt.Sprintf("(cut, %d bytes) ", len(text)) + strings.ToValidUTF8(text[:MaxShortened-noteRoom], "")
}

// Shorten returns l with records of at most MaxShortened bytes. TXT records without a version tag are left out first, because no
// policy is among them. If that is not enough, Shorten leaves out all: with a part of the records, or of one, the checks of a
// message would have another result.
func (l Lookup) Shorten() Lookup {
	records, whole := shorten(l.Records, l.Type == "TXT")
	l.Records, l.Cut = records, max(l.Cut, whole)
	return l
}

// Incomplete reports whether records are missing that the checks of a message may depend on, so that nothing can be concluded
// from the answer. One that lacks only TXT records without a version tag is not incomplete.
func (l Lookup) Incomplete() bool { return l.Cut > 0 && len(l.Records) == 0 || l.Status == Forgotten }

// shorten returns the records that are kept, and the bytes of all if some are not.
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

// short is what shorten returns.
type short struct {
	records []string
	whole   int
}

// shortened returns records, shortened. New texts are made once: that takes longer than the lookup.
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
