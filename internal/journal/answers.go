package journal

import (
	"database/sql"
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
	// refresh is how often it is noted that an answer is still in use.
	refresh = time.Hour
)

// pack makes an entry small. The entry is as before when it returns.
func (d *database) pack(keep *sql.Stmt, e *Entry) ([]byte, error) {
	now := e.Time.Unix()
	if now-d.freshAt > int64(refresh/time.Second) || len(d.fresh) > room {
		clear(d.fresh)
		d.freshAt = now
	}
	whole := e.Report
	defer func() { e.Report = whole }()
	var failed error
	replaceTexts(e, func(text string) string {
		if len(text) < large && !strings.HasPrefix(text, mark) {
			return text
		}
		sum := hash(text)
		if !d.fresh[sum] {
			if _, err := keep.Exec(sum, text, now); err != nil {
				failed = err
				return text
			}
			d.fresh[sum] = true
		}
		return mark + strconv.FormatInt(sum, 36)
	})
	if failed != nil {
		return nil, failed
	}
	return d.codec.encode(e)
}

// unpack is its reverse.
func (d *database) unpack(packed []byte) (Entry, error) {
	e, err := d.codec.decode(packed)
	if err != nil {
		return e, err
	}
	replaceTexts(&e, func(text string) string {
		key, ok := strings.CutPrefix(text, mark)
		sum, err := strconv.ParseInt(key, 36, 64)
		if !ok || err != nil {
			return text
		}
		var whole string
		if err := d.QueryRow("SELECT text FROM answer WHERE hash = ?", sum).Scan(&whole); err != nil {
			return "(no longer known)"
		}
		return whole
	})
	return e, nil
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
