package journal

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"signpost/internal/dns"
)

// Large DNS answers and records, such as public keys, recur in thousands of messages. Each such text is stored once, in the table answer.
// Entries contain a mark and the hash of the text instead. Because senders choose the answers, the answers have their own size limit. If
// they exceed it, the least recently used answers are deleted before any message.

const (
	// large is the size in bytes from which a text is stored in the table answer.
	large = 120
	// mark precedes the hash that replaces a text. A text that itself begins with mark is always stored in the table answer.
	mark = "\x01"
	// refresh is the interval at which the database notes that an answer is still in use.
	refresh = time.Hour
	// maxStored limits the texts in storedTexts, in bytes.
	maxStored = 2 << 20
	// forgotten replaces a text that is not in the database: it was deleted, or it exceeded the limit for one message.
	forgotten = "(no longer known)"
)

// marked returns the text that replaces the text with this hash.
func marked(sum int64) string {
	var b [16]byte // the longest: mark, a sign and 13 digits
	return string(strconv.AppendInt(append(b[:0], mark...), sum, 36))
}

// text is a row of the table answer.
type text struct {
	sum  int64
	text string
}

// storedTexts caches the hashes of recurring texts that are in the database. A text is added only after it was committed. It is safe for
// concurrent use.
type storedTexts struct {
	mu    sync.RWMutex
	sums  map[string]int64
	texts map[int64]string
	size  int // bytes of the texts
}

func newStoredTexts() *storedTexts {
	s := &storedTexts{}
	s.clear()
	return s
}

// sum returns the hash of a text, and whether the text is in the database.
func (s *storedTexts) sum(text string) (sum int64, stored bool) {
	s.mu.RLock()
	sum, stored = s.sums[text]
	s.mu.RUnlock()
	if !stored {
		sum = hash(text)
	}
	return sum, stored
}

func (s *storedTexts) has(sum int64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, stored := s.texts[sum]
	return stored
}

func (s *storedTexts) add(all []text) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range all {
		if _, known := s.texts[t.sum]; !known {
			s.sums[t.text], s.texts[t.sum] = t.sum, t.text
			s.size += len(t.text)
		}
	}
}

func (s *storedTexts) remove(sum int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, known := s.texts[sum]; known {
		delete(s.sums, t)
		delete(s.texts, sum)
		s.size -= len(t)
	}
}

func (s *storedTexts) full() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.size > maxStored
}

// clear removes all texts from the cache, so that each text is stored again when it recurs.
func (s *storedTexts) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sums, s.texts, s.size = map[string]int64{}, map[int64]string{}, 0
}

// maxTexts limits the texts that a Reader caches, in bytes.
const maxTexts = 16 << 20

// restore replaces the marks in an entry by their texts.
func (r *Reader) restore(ctx context.Context, e *Entry) {
	whole := func(text string) string {
		key, ok := strings.CutPrefix(text, mark)
		sum, err := strconv.ParseInt(key, 36, 64)
		if !ok || err != nil {
			return text
		}
		stored, known := r.texts[sum]
		if known {
			return stored
		}
		if err := r.row(ctx, []any{&stored}, "SELECT text FROM answer WHERE hash = ?", sum); err != nil {
			return forgotten
		}
		if r.textsSize += len(stored); r.texts == nil || r.textsSize > maxTexts {
			r.texts, r.textsSize = map[int64]string{}, len(stored)
		}
		r.texts[sum] = stored
		return stored
	}
	replaceTexts(e, whole, func(l *dns.Lookup) {
		if len(l.Records) != 1 || !strings.HasPrefix(l.Records[0], mark) {
			return
		}
		text := whole(l.Records[0])
		switch {
		case e.Version == 1:
			answer1(l, text)
		case text == forgotten:
			l.Status, l.Records = dns.Forgotten, nil
		default:
			l.Records = splitRecords(text)
		}
	})
}

// joined is the first byte of a text with several records. The length of each record, a colon and the record itself follow.
const joined = "\x02"

// joinRecords returns records as one text. For a single record, which is the most frequent case, the text is the record.
func joinRecords(records []string) string {
	if len(records) == 1 && !strings.HasPrefix(records[0], joined) && !strings.HasPrefix(records[0], mark) {
		return records[0]
	}
	var b strings.Builder
	b.WriteString(joined)
	for _, r := range records {
		b.WriteString(strconv.Itoa(len(r)))
		b.WriteByte(':')
		b.WriteString(r)
	}
	return b.String()
}

// splitRecords returns the records that joinRecords joined.
func splitRecords(text string) []string {
	rest, ok := strings.CutPrefix(text, joined)
	if !ok {
		return []string{text}
	}
	var records []string
	for rest != "" {
		length, after, _ := strings.Cut(rest, ":")
		n, err := strconv.Atoi(length)
		if err != nil || n < 0 || n > len(after) {
			break // the database is damaged
		}
		records, rest = append(records, after[:n]), after[n:]
	}
	return records
}

// replaceTexts replaces those texts of an entry that come from DNS. The function by returns the replacement of a text. It replaces the most
// important texts first. It calls the function records for each lookup, to replace the records of that lookup. The entry must have its own
// slices. The function records must not change the records of a lookup in place.
func replaceTexts(e *Entry, by func(string) string, records func(*dns.Lookup)) {
	ev := &e.Evidence
	if ev.SPF != nil {
		ev.SPF.Record = by(ev.SPF.Record)
	}
	for i := range ev.DMARC {
		ev.DMARC[i].Record = by(ev.DMARC[i].Record)
	}
	for i := range ev.DKIM {
		ev.DKIM[i].KeyRecord = by(ev.DKIM[i].KeyRecord)
	}
	for i := range e.Lookups {
		records(&e.Lookups[i])
	}
}
