package journal

import (
	"context"
	"database/sql"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// contentPage is the number of entries that one transaction reads for a filter with Content.
const contentPage = 4000

// matching is IDs for a filter with Content.
func (r *Reader) matching(ctx context.Context, f Filter, most int, oldest bool) (ids []int64, err error) {
	if f, err = r.hashed(ctx, f); err != nil {
		return nil, err
	}
	for {
		var packed []packedEntry
		err := r.snapshot(ctx, func(s *snapshot) error {
			packed = packed[:0]
			return s.find(ctx, f, "id, entry", contentPage, oldest, func(rows *sql.Rows, err error) (int, error) {
				before := len(packed)
				err = scanEntries(rows, err, &packed)
				return len(packed) - before, err
			})
		})
		if err != nil {
			return ids, err
		}
		for _, e := range r.sift(packed, f.Content) {
			if ids = append(ids, e.ID); len(ids) == most {
				return ids, nil
			}
		}
		if len(packed) < contentPage {
			return ids, nil
		}
		if last := packed[len(packed)-1].id; oldest {
			f.After = last
		} else {
			f.Before = time.UnixMicro(last)
		}
	}
}

// hashed adds the words of this journal to a filter.
func (r *Reader) hashed(ctx context.Context, f Filter) (Filter, error) {
	secrets, err := r.secrets(ctx)
	return f.Hashed(secrets...), err
}

// sift returns the entries of rows that match, without the texts that are stored separately.
func (r *Reader) sift(all []packedEntry, c Content) []Entry {
	decoded, keep, errs := make([]Entry, len(all)), make([]bool, len(all)), make([]error, len(all))
	var next atomic.Int64
	var sifting sync.WaitGroup
	const part = 100
	for range min(runtime.GOMAXPROCS(0), len(all)) {
		sifting.Go(func() {
			s := newSieve(c)
			for from := int(next.Add(part) - part); from < len(all); from = int(next.Add(part) - part) {
				for i := from; i < min(from+part, len(all)); i++ {
					e := &decoded[i]
					*e, keep[i], errs[i] = r.codec.decodeIf(all[i].entry, s.passes)
					e.ID = all[i].id
					keep[i] = keep[i] && c.matches(e)
				}
			}
		})
	}
	sifting.Wait()
	out := decoded[:0]
	for i, e := range decoded {
		if errs[i] != nil {
			if r.unread++; r.firstUnread == nil {
				r.firstUnread = errs[i]
			}
		} else if keep[i] {
			out = append(out, e)
		}
	}
	return out
}

// maxFound limits the messages that Find returns.
const maxFound = 100

// Find returns the messages with this queue ID. If there are none, it returns the messages with this Message-ID. There may be several
// messages, because Postfix reuses short queue IDs. Find returns at most the newest hundred, newest first.
func (r *Reader) Find(ctx context.Context, id string) ([]Entry, error) {
	if !strings.Contains(id, "@") { // a queue ID never contains @
		found, err := r.withID(ctx, "queue", []string{id}, func(e *Entry) string { return e.Evidence.QueueID })
		if len(found) > 0 || err != nil {
			return found, err
		}
	}
	return r.withID(ctx, "mid", messageIDs(id), func(e *Entry) string { return e.Evidence.MessageID })
}

// Outcomes returns the number of messages with each outcome that match a filter without Content.
func (r *Reader) Outcomes(ctx context.Context, f Filter) (map[Outcome]int64, error) {
	n := map[int64]int64{}
	all := map[Outcome]int64{}
	err := r.snapshot(ctx, func(s *snapshot) error {
		clear(n)
		if err := s.find(ctx, f, "outcome", math.MaxInt32, true, func(rows *sql.Rows, err error) (int, error) {
			return 0, each(rows, err, func() error {
				var id int64
				err := rows.Scan(&id)
				n[id]++
				return err
			})
		}); err != nil {
			return err
		}
		words, err := readOutcomes(ctx, s.tx)
		for o, id := range words {
			if n[id] > 0 {
				all[o.current()] += n[id]
			}
		}
		return err
	})
	return all, err
}

// Sources calls visit for the Author Domain and the client of each message that matches a filter without Content, the oldest first.
func (r *Reader) Sources(ctx context.Context, f Filter, visit func(id int64, domain string, client netip.Addr)) error {
	return r.snapshot(ctx, func(s *snapshot) error {
		return s.find(ctx, f, "id, domain, client", math.MaxInt32, true, func(rows *sql.Rows, err error) (int, error) {
			return 0, each(rows, err, func() error {
				var id int64
				var domain string
				var client []byte
				err := rows.Scan(&id, &domain, &client)
				a, _ := netip.AddrFromSlice(client)
				visit(id, domain, a)
				return err
			})
		})
	})
}

// messageIDs returns a Message-ID as a user writes it, and with the angle brackets that may be missing.
func messageIDs(id string) []string { return []string{id, "<" + id + ">"} }

func messageHashes(id string) (all []int64) {
	for _, id := range messageIDs(id) {
		all = append(all, hash(id))
	}
	return all
}

// withID returns the newest messages with one of the IDs. The column has the hashes of the IDs. The function is returns the ID of an entry.
func (r *Reader) withID(ctx context.Context, column string, ids []string, is func(*Entry) string) ([]Entry, error) {
	hashes := make([]int64, len(ids))
	for i, id := range ids {
		hashes[i] = hash(id)
	}
	var numbers []int64
	err := r.snapshot(ctx, func(s *snapshot) error {
		numbers = numbers[:0]
		for _, c := range slices.Backward(s.chunks) {
			rows, err := s.query(ctx, "SELECT id FROM "+c.table()+" WHERE "+column+" IN ("+list(hashes)+") ORDER BY id DESC LIMIT "+strconv.Itoa(maxFound-len(numbers)))
			if err := each(rows, err, func() error {
				var number int64
				err := rows.Scan(&number)
				numbers = append(numbers, number)
				return err
			}); err != nil || len(numbers) == maxFound {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	found, err := r.Entries(ctx, numbers)
	return slices.DeleteFunc(found, func(e Entry) bool {
		return !slices.ContainsFunc(ids, func(id string) bool { return isID(is(&e), id) })
	}), err
}
