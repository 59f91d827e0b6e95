package journal

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// Large DNS answers and records recur in thousands of messages, and a public key does not shrink. Each stands once in the table
// answer; an entry has a mark in its place.

const (
	// large is what is worth a row of its own.
	large = 120
	// mark begins what stands in place of a text; a text that begins so itself is put away whatever its length.
	mark = "\x01"
	// refresh is how often at the least it is noted that an answer is still in use, and maxFresh how many octets of those in use are known.
	refresh  = time.Hour
	maxFresh = 2 << 20
)

// row is a message as it is written: all that is left of it while it waits for others.
type row struct {
	at         time.Time
	queue, mid int64
	domain     string
	client     []byte
	outcome    Outcome
	entry      []byte
	texts      []text // that are to be put away before it
}

// text is what has a row of its own.
type text struct {
	sum  int64
	text string
}

// pack makes a message small.
func (d *database) pack(e *Entry) (row, error) {
	now := e.Time.Unix()
	if age := now - d.freshAt; max(age, -age) > int64(d.grace/2/time.Second) || d.freshSize > maxFresh { // clocks go back, too
		d.forget()
		d.freshAt = now
	}
	r := row{at: e.Time, queue: hash(e.Evidence.QueueID), mid: hash(e.Evidence.MessageID), domain: e.Domain(), client: address(e.Evidence.Connection.Client), outcome: e.Outcome()}
	short := Entry{Time: e.Time, Report: e.Report}
	replaceTexts(&short, func(s string) string {
		if len(s) < large && !strings.HasPrefix(s, mark) {
			return s
		}
		sum, known := d.fresh[s]
		if !known {
			sum = hash(s)
			d.fresh[s] = sum
			d.freshSize += len(s)
			r.texts = append(r.texts, text{sum, s})
		}
		return mark + strconv.FormatInt(sum, 36)
	})
	packed, err := d.codec.encode(&short)
	r.entry = bytes.Clone(packed)
	return r, err
}

// forget has every text put away again.
func (d *database) forget() {
	d.fresh, d.freshSize = map[string]int64{}, 0
}

// maxTexts bounds what a Reader remembers of the texts that it read, in octets.
const maxTexts = 16 << 20

// restore puts the texts in the place of their marks. Most are those of thousands of messages.
func (r *Reader) restore(e *Entry) {
	replaceTexts(e, func(text string) string {
		key, ok := strings.CutPrefix(text, mark)
		sum, err := strconv.ParseInt(key, 36, 64)
		if !ok || err != nil {
			return text
		}
		whole, known := r.texts[sum]
		if known {
			return whole
		}
		if err := r.QueryRow("SELECT text FROM answer WHERE hash = ?", sum).Scan(&whole); err != nil {
			return "(no longer known)"
		}
		if r.textsSize += len(whole); r.texts == nil || r.textsSize > maxTexts {
			r.texts, r.textsSize = map[int64]string{}, len(whole)
		}
		r.texts[sum] = whole
		return whole
	})
}

// replaceTexts visits the texts of an entry that come from DNS. Slices are copied before they are written to: the evidence
// is shared with others.
func replaceTexts(e *Entry, by func(string) string) {
	ev := &e.Evidence
	if ev.SPF != nil {
		spf := *ev.SPF
		spf.Record = by(spf.Record)
		ev.SPF = &spf
	}
	ev.DKIM = append(ev.DKIM[:0:0], ev.DKIM...)
	for i := range ev.DKIM {
		ev.DKIM[i].KeyRecord = by(ev.DKIM[i].KeyRecord)
	}
	ev.DMARC = append(ev.DMARC[:0:0], ev.DMARC...)
	for i := range ev.DMARC {
		ev.DMARC[i].Record = by(ev.DMARC[i].Record)
	}
	e.Lookups = append(e.Lookups[:0:0], e.Lookups...)
	for i := range e.Lookups {
		e.Lookups[i].Answer = by(e.Lookups[i].Answer)
	}
}
