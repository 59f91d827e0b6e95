package journal

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"signpost/internal/dns"
)

// Bounds on what one message costs the journal. Everything in an entry may be chosen by a sender.
const (
	// maxMessage is how many bytes of the files a message takes at most, its answers included: with the smallest max_size,
	// 32 MiB, a thousand hostile messages do not displace the mail of a day.
	maxMessage = 20 << 10
	// maxEntry is how many bytes its packed entry takes. An ordinary one takes some 300, an honest one with a dozen signatures
	// and ARC sets less than 3,000.
	maxEntry = 6 << 10
	// indexRoom is what its rows in the indexes take; two of them hold the domain.
	indexRoom = 1 << 10
	// rowBytes is what a queued row holds in memory beside its entry and texts.
	rowBytes = 384
	// maxPooled is the size of a buffer that is kept for other messages: few entries are larger before they are packed.
	maxPooled = 64 << 10
)

// row is a message as it is written. It shares no memory with the message.
type row struct {
	at         time.Time
	queue, mid int64
	domain     string
	client     []byte
	outcome    Outcome
	entry      []byte
	texts      []text // to be stored before it
	textBytes  int
}

// bytes is how much memory a row holds.
func (r *row) bytes() int64 { return int64(rowBytes + len(r.entry) + len(r.domain) + r.textBytes) }

// textCost returns how many bytes of the files a text of size bytes takes: pages that are filled in random order have free
// space, and the index has a row.
func textCost(size int) int { return size*5/4 + textRow }

const textRow = 72

// pack packs a message. If its entry is too large, it is cut shorter until it fits.
func pack(e *Entry, c *codec, stored *storedTexts) (*row, error) {
	r := &row{at: e.Time, queue: hash(e.QueueID), mid: hash(e.MessageID), domain: strings.Clone(cut(e.Domain(), maxDomain)),
		client: address(e.Client), outcome: e.Outcome()}
	for level := 0; ; level++ {
		short := shorten(e, level)
		var texts []text
		store := func(s string) string {
			sum, known := stored.sum(s)
			if !known {
				texts = append(texts, text{sum, s})
			}
			return mark + strconv.FormatInt(sum, 36)
		}
		replaceTexts(&short, func(s string) string {
			if len(s) < large && !strings.HasPrefix(s, mark) {
				return s
			}
			return store(dns.Shorten(s))
		}, func(l *dns.Lookup) {
			size, valid := 0, true // JSON keeps valid UTF-8 alone
			for _, r := range l.Records {
				size += len(r)
				valid = valid && utf8.ValidString(r)
			}
			if size >= large || !valid || len(l.Records) == 1 && strings.HasPrefix(l.Records[0], mark) {
				l.Records = []string{store(joinRecords(l.Records))}
			}
		})
		packed, err := c.encode(&short)
		if err != nil {
			return nil, err
		}
		if len(packed) > maxEntry && level < maxLevel {
			continue
		}
		r.entry = bytes.Clone(packed)
		r.keepTexts(texts)
		return r, nil
	}
}

// keepTexts keeps as many of the texts as a message may store with its entry, in their order. A row may leave up to a page
// unused.
func (r *row) keepTexts(texts []text) {
	room := maxMessage - indexRoom - pageSize - len(r.entry)
	seen := map[int64]bool{}
	for _, t := range texts {
		if cost := textCost(len(t.text)); cost <= room && !seen[t.sum] {
			seen[t.sum] = true
			room -= cost
			t.text = strings.Clone(t.text)
			r.texts = append(r.texts, t)
			r.textBytes += len(t.text) + textRow
		}
	}
}
