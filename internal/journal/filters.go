package journal

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Filter selects messages: those that match all of its fields. The zero value matches all messages.
type Filter struct {
	Domain        string       // Author Domain
	Client        netip.Prefix // invalid: any
	Outcome       func(Outcome) bool
	Content                 // Top and Number do not use it
	Since, Before time.Time // zero: no limit
	After         int64     // only messages with greater numbers
}

// bounds returns the lowest and the highest number that the filter allows.
func (f Filter) bounds() (lowest, highest int64) {
	lowest, highest = f.After+1, math.MaxInt64
	if !f.Since.IsZero() {
		lowest = max(lowest, f.Since.UnixMicro())
	}
	if !f.Before.IsZero() {
		highest = f.Before.UnixMicro() - 1
	}
	return lowest, highest
}

// IDs returns the numbers of the newest messages that match a filter, newest first. If oldest is true, it returns the numbers of the oldest
// messages, oldest first. The parameter most limits their number.
func (r *Reader) IDs(ctx context.Context, f Filter, most int, oldest bool) (ids []int64, err error) {
	if !f.Content.empty() {
		return r.matching(ctx, f, most, oldest)
	}
	err = r.snapshot(ctx, func(s *snapshot) error {
		ids = ids[:0]
		return s.find(ctx, f, "id", most, oldest, func(rows *sql.Rows, err error) (int, error) {
			before := len(ids)
			err = each(rows, err, func() error {
				var id int64
				err := rows.Scan(&id)
				ids = append(ids, id)
				return err
			})
			return len(ids) - before, err
		})
	})
	return ids, err
}

// snapshot is a read transaction: the catalog and the tables do not change in it.
type snapshot struct {
	tx     *sql.Tx
	chunks []chunk // oldest first
}

// snapshot calls f in a read transaction.
func (r *Reader) snapshot(ctx context.Context, f func(*snapshot) error) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var has int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&has); err != nil { // the daemon may have upgraded the journal
		return err
	}
	s := &snapshot{tx: tx}
	if s.chunks, err = readChunks(ctx, tx, has); err != nil {
		return err
	}
	return f(s)
}

// query starts a query of one chunk. It checks ctx only before the query, and does not pass ctx to SQLite. Passing it would cost a
// goroutine for each chunk, and a query of one chunk takes little time.
func (s *snapshot) query(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.tx.Query(text, args...)
}

// ends returns the lowest and the highest number of a message, or 0 if there is none.
func (s *snapshot) ends(ctx context.Context) (first, last int64, err error) {
	end := func(c chunk, function string) (n int64, err error) {
		err = s.tx.QueryRowContext(ctx, "SELECT coalesce("+function+"(id), 0) FROM "+c.table()).Scan(&n)
		return n, err
	}
	for _, c := range s.chunks { // journal forget may have emptied a chunk
		if first, err = end(c, "min"); err != nil || first > 0 {
			break
		}
	}
	for _, c := range slices.Backward(s.chunks) {
		if last, err = end(c, "max"); err != nil || last > 0 {
			break
		}
	}
	return first, last, err
}

// among returns those numbers of a sorted list that belong to the chunk.
func (c chunk) among(ids []int64) []int64 {
	from, _ := slices.BinarySearch(ids, c.first)
	to := len(ids)
	if c.sealed {
		to, _ = slices.BinarySearch(ids, c.last+1)
	}
	return ids[from:max(from, to)]
}

// find queries one chunk after the other, newest or oldest first. It passes the rows that match a filter to the function scan, which
// returns how many rows it read. The parameter most limits the total number of rows. A sealed chunk has indexes of outcomes, domains and
// clients. The open chunk is small enough to be read completely.
func (s *snapshot) find(ctx context.Context, f Filter, columns string, most int, oldest bool, scan func(*sql.Rows, error) (int, error)) error {
	where, args, err := s.conditions(ctx, f)
	if err != nil {
		return err
	}
	if f.MessageID != "" {
		where += " AND mid IN (" + list(messageHashes(f.MessageID)) + ")"
	}
	order := " ORDER BY id DESC LIMIT "
	if oldest {
		order = " ORDER BY id LIMIT "
	}
	lowest, highest := f.bounds()
	windows, err := s.windows(ctx, lowest, highest, oldest)
	if err != nil {
		return err
	}
	for _, w := range windows {
		if most <= 0 {
			break
		}
		text := "SELECT " + columns + " FROM " + w.from(f) + " WHERE " + w.condition(f) + where + order + strconv.Itoa(most)
		rows, err := s.query(ctx, text, args...)
		n, err := scan(rows, err)
		if err != nil {
			return err
		}
		most -= n
	}
	return nil
}

// conditions returns the SQL conditions of a filter and their arguments, but not the condition on the numbers.
func (s *snapshot) conditions(ctx context.Context, f Filter) (where string, args []any, err error) {
	if f.Domain != "" {
		where, args = where+" AND domain = ?", append(args, f.Domain)
	}
	switch {
	case f.Client.IsSingleIP():
		where, args = where+" AND client = ?", append(args, address(f.Client.Addr()))
	case f.Client.IsValid():
		from, to := span(f.Client)
		where, args = where+" AND client BETWEEN ? AND ? AND length(client) = ?", append(args, from, to, len(from))
	}
	if f.Outcome == nil {
		return where, args, nil
	}
	outcomes, err := readOutcomes(ctx, s.tx) // each query reads them again, because new mail may add outcomes
	var numbers []int64
	for o, id := range outcomes {
		if f.Outcome(o.current()) {
			numbers = append(numbers, id)
		}
	}
	slices.Sort(numbers)
	return where + " AND outcome IN (" + list(numbers) + ")", args, err
}

// window is a part of the messages that one query reads.
type window struct {
	chunk
	lowest, highest int64 // numbers
	all             bool  // of the chunk
}

// from returns the table and the index to use. Without statistics, SQLite would not always choose the index that leads to the fewest rows.
// The index of clients contains the outcome and the domain, too.
func (w window) from(f Filter) string {
	index := ""
	switch {
	case w.indexes < len(chunkIndexes()) && !w.old, w.old && f.MessageID != "":
		return w.table()
	case f.MessageID != "":
		index = "mid"
	case f.Client.IsValid() && !wide(f.Client):
		index = "client"
	case f.Domain != "":
		index = "domain"
	case f.Outcome != nil:
		index = "outcome"
	default:
		return w.table()
	}
	return w.table() + " INDEXED BY " + w.table() + "_" + index
}

// wide reports whether a network is so large that it probably sent many messages. In this case, another index leads to fewer rows.
func wide(p netip.Prefix) bool {
	return p.Addr().Is4() && p.Bits() < 8 || p.Addr().Is6() && p.Bits() < 16
}

// condition returns the SQL condition on the numbers. The index of clients of version 1 begins with the day.
func (w window) condition(f Filter) string {
	switch {
	case w.all:
		return "true"
	case w.old && f.Client.IsValid():
		return fmt.Sprintf("id / %d = %d AND id BETWEEN %d AND %d", dayMicros, w.lowest/dayMicros, w.lowest, w.highest)
	}
	return fmt.Sprintf("id BETWEEN %d AND %d", w.lowest, w.highest)
}

const (
	hourMicros = int64(time.Hour / time.Microsecond)
	dayMicros  = 24 * hourMicros
)

// windows returns the windows that contain the numbers from lowest to highest. A window is a chunk or, in the table of version 1, an hour.
func (s *snapshot) windows(ctx context.Context, lowest, highest int64, oldest bool) (all []window, err error) {
	for _, c := range s.chunks {
		last := c.last
		if !c.sealed {
			last = math.MaxInt64
		}
		if last < lowest || c.first > highest {
			continue
		}
		if !c.old {
			all = append(all, window{c, max(c.first, lowest), min(last, highest), lowest <= c.first && last <= highest})
			continue
		}
		rows, err := s.tx.QueryContext(ctx, "SELECT DISTINCT hour FROM hour WHERE hour BETWEEN ? AND ? ORDER BY hour", max(c.first, lowest)/hourMicros, min(last, highest)/hourMicros)
		if err := each(rows, err, func() error {
			var hour int64
			err := rows.Scan(&hour)
			all = append(all, window{c, max(hour*hourMicros, c.first, lowest), min(hour*hourMicros+hourMicros-1, last, highest), false})
			return err
		}); err != nil {
			return nil, err
		}
	}
	if !oldest {
		slices.Reverse(all)
	}
	return all, nil
}

// list returns numbers as an SQL list.
func list(numbers []int64) string {
	words := make([]string, len(numbers))
	for i, n := range numbers {
		words[i] = strconv.FormatInt(n, 10)
	}
	return strings.Join(words, ",")
}

// address returns the 4 bytes of an IPv4 address or the 16 bytes of an IPv6 address. They are in network order, so that a network is a
// range.
func address(a netip.Addr) []byte {
	if !a.IsValid() {
		return []byte{}
	}
	return a.Unmap().WithZone("").AsSlice()
}

// unaddress is the reverse of address. It returns "unknown" for an address that Postfix did not know.
func unaddress(b []byte) string {
	if a, ok := netip.AddrFromSlice(b); ok {
		return a.String()
	}
	return "unknown"
}

// span returns the first and the last address of a network.
func span(p netip.Prefix) (first, last []byte) {
	first = p.Masked().Addr().AsSlice()
	last = slices.Clone(first)
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	return first, last
}
