package journal

import (
	"bytes"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"signpost/internal/dns"
)

// Limits of the space for one message. A sender may choose everything in an entry.
const (
	// maxMessage is the maximum size of a message in the files, with its answers, in bytes. Even with the smallest max_size (32 MiB), a
	// thousand hostile messages do not displace the mail of a day.
	maxMessage = 20 << 10
	// maxEntry is the maximum size of a packed entry, in bytes. An ordinary entry has about 300 bytes. An entry with a dozen signatures and
	// ARC sets has less than 3,000 bytes.
	maxEntry = 6 << 10
	// indexRoom is the space for the index rows of a message, in bytes. Two of these rows contain the domain.
	indexRoom = 1 << 10
	// maxLoose is the maximum size of an entry that is queued without compression, in bytes. Ordinary entries have less than 2,000.
	maxLoose = 3 << 10
	// rowBytes is the memory of a queued row in addition to its entry and texts, in bytes.
	rowBytes = 384
	// maxPooled is the maximum size of a buffer that is reused, in bytes. Few entries are larger before they are packed.
	maxPooled = 64 << 10
)

// row is a message in the form in which the database stores it. It shares no memory with the record.
type row struct {
	at         time.Time
	queue, mid int64
	domain     string
	client     []byte
	outcome    Outcome
	entry      []byte // packed; if loose, not compressed yet
	loose      bool
	texts      []text // the texts that must be stored before the row
	textBytes  int
	size       int64 // the memory of the row while it is queued, in bytes
}

// compress compresses the entry. The writer calls it: S2 has a table of 64 KiB on its stack, which the goroutine of each message would have
// to grow.
func (r *row) compress(c *codec) {
	if r.loose {
		r.entry, r.loose = bytes.Clone(c.compress(r.entry)), false
	}
}

// textCost returns how many bytes a text takes in the files. The parameter size is the length of the text. The result includes the row of
// the index, and the free space in pages after inserts in random order.
func textCost(size int) int { return size*5/4 + textRow }

const textRow = 72

// pack packs an entry. If the result is larger than maxEntry, it cuts the entry to the next level and packs it again. If loose is true, pack
// leaves the compression of an ordinary entry to the writer.
func pack(e *Entry, c *codec, stored *storedTexts, loose bool) (*row, error) {
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
			return marked(sum)
		}
		replaceTexts(&short, func(s string) string {
			if len(s) < large && !strings.HasPrefix(s, mark) {
				return s
			}
			return store(dns.Shorten(s))
		}, func(l *dns.Lookup) {
			size, valid := 0, true // JSON strings must be valid UTF-8
			for _, r := range l.Records {
				size += len(r)
				valid = valid && utf8.ValidString(r)
			}
			if size >= large || !valid || len(l.Records) == 1 && strings.HasPrefix(l.Records[0], mark) {
				l.Records = []string{store(joinRecords(l.Records))}
			}
		})
		entry, err := c.marshal(&short)
		if err != nil {
			return nil, err
		}
		if r.loose = loose && len(entry) <= maxLoose; !r.loose {
			entry = c.compress(entry)
		}
		if len(entry) > maxEntry && level < maxLevel {
			continue
		}
		r.entry = bytes.Clone(entry)
		r.keepTexts(texts)
		r.size = int64(rowBytes + len(r.entry) + len(r.domain) + r.textBytes)
		return r, nil
	}
}

// keepTexts keeps the first texts that fit into maxMessage together with the entry. It reserves one page, because a row may leave up to a
// page unused.
func (r *row) keepTexts(texts []text) {
	entry := len(r.entry)
	if r.loose {
		entry /= 2 // ordinary entries are compressed to a fifth
	}
	room := maxMessage - indexRoom - pageSize - entry
	for _, t := range texts {
		kept := func(k text) bool { return k.sum == t.sum }
		if cost := textCost(len(t.text)); cost <= room && !slices.ContainsFunc(r.texts, kept) {
			room -= cost
			t.text = strings.Clone(t.text)
			r.texts = append(r.texts, t)
			r.textBytes += len(t.text) + textRow
		}
	}
}
