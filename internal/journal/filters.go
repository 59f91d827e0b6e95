package journal

import (
	"cmp"
	"context"
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
	Since, Before time.Time // zero: no limit
	After         int64     // only messages with greater numbers
}

// numbers returns the numbers of the outcomes that match. If match is nil, it returns nil, which means all outcomes.
func (r *Reader) numbers(ctx context.Context, match func(Outcome) bool) ([]int64, error) {
	if match == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	outcomes, err := readOutcomes(ctx, r.db) // read for each query, because new mail may add outcomes
	if err != nil {
		return nil, err
	}
	ids := []int64{}
	for o, id := range outcomes {
		if match(o.current()) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// conditions returns the SQL conditions on the time, and their arguments.
func (f Filter) conditions() (string, []any) {
	where, args := " id > ?", []any{f.After}
	if !f.Since.IsZero() {
		args[0] = max(f.After, f.Since.UnixMicro()-1)
	}
	if !f.Before.IsZero() {
		where, args = where+" AND id < ?", append(args, f.Before.UnixMicro())
	}
	return where, args
}

// IDs returns the numbers of the newest messages that match a filter, newest first, but no more than most. If oldest is true, it returns
// the numbers of the oldest messages, oldest first.
//
// The indexes of outcomes, and of domains with outcomes, have the numbers in order. So IDs makes one query for each outcome and merges the
// results. No query reads more than most rows. For a client or a network it uses byClient, unless the network is wide or few messages match
// the outcomes.
func (r *Reader) IDs(ctx context.Context, f Filter, most int, oldest bool) ([]int64, error) {
	order, sorted := " ORDER BY id DESC LIMIT ?", func(a, b int64) int { return cmp.Compare(b, a) }
	if oldest {
		order, sorted = " ORDER BY id LIMIT ?", cmp.Compare[int64]
	}
	outcomes, err := r.numbers(ctx, f.Outcome)
	if err != nil {
		return nil, err
	}
	where, args := f.conditions()
	if f.Domain != "" {
		where, args = where+" AND domain = ?", append(args, f.Domain)
	}
	if f.Client.IsSingleIP() {
		if outcomes == nil && f.Domain != "" { // the index of domains also needs outcomes
			if outcomes, err = r.every(ctx); err != nil {
				return nil, err
			}
		}
		return r.byClient(ctx, f, where+" AND client = ?"+among(outcomes)+order, append(args, address(f.Client.Addr()), most), oldest)
	}
	if f.Client.IsValid() {
		from, to := span(f.Client)
		where, args = where+" AND client BETWEEN ? AND ? AND length(client) = ?", append(args, from, to, len(from))
		few, err := r.few(ctx, f, outcomes)
		if err != nil {
			return nil, err
		}
		if !few && !wide(f.Client) {
			return r.byClient(ctx, f, where+among(outcomes)+order, append(args, most), oldest)
		}
	}
	if outcomes == nil && f.Domain == "" {
		return r.ids(ctx, "SELECT id FROM message WHERE"+where+order, append(args, most)...)
	}
	if outcomes == nil {
		if outcomes, err = r.every(ctx); err != nil {
			return nil, err
		}
	}
	var all []int64
	for _, o := range outcomes {
		ids, err := r.ids(ctx, "SELECT id FROM message WHERE outcome = ? AND"+where+order, append(append([]any{o}, args...), most)...)
		if err != nil {
			return nil, err
		}
		all = append(all, ids...)
	}
	slices.SortFunc(all, sorted)
	return all[:min(most, len(all))], nil
}

// every returns the numbers of all outcomes.
func (r *Reader) every(ctx context.Context) ([]int64, error) {
	return r.numbers(ctx, func(Outcome) bool { return true })
}

// wide reports whether a network is so large that it probably sent many messages. In this case, it is fastest to read all messages in
// order.
func wide(p netip.Prefix) bool {
	return p.Addr().Is4() && p.Bits() < 8 || p.Addr().Is6() && p.Bits() < 16
}

// rare is how many messages can be read one by one in a fraction of a second.
const rare = 10_000

// few reports whether few messages have these outcomes. In this case, the index of outcomes is the fastest way to find messages of a
// network.
func (r *Reader) few(ctx context.Context, f Filter, outcomes []int64) (bool, error) {
	if outcomes == nil {
		return false, nil
	}
	var n int64
	err := r.row(ctx, []any{&n}, "SELECT coalesce(sum(n), 0) FROM hour WHERE hour >= ?"+among(outcomes), max(f.After, f.Since.UnixMicro())/hourMicros)
	return n <= rare, err
}

const (
	hourMicros = int64(time.Hour / time.Microsecond)
	dayMicros  = 24 * hourMicros
)

// byClient searches the index of clients day by day, until it has found enough messages.
func (r *Reader) byClient(ctx context.Context, f Filter, where string, args []any, oldest bool) (all []int64, err error) {
	var first, last int64
	if err := r.row(ctx, []any{&first, &last}, "SELECT coalesce((SELECT min(id) FROM message), 0), coalesce((SELECT max(id) FROM message), 0)"); err != nil {
		return nil, err
	}
	first = max(first, f.After, f.Since.UnixMicro()) / dayMicros
	if !f.Before.IsZero() {
		last = min(last, f.Before.UnixMicro())
	}
	last /= dayMicros
	most := args[len(args)-1].(int)
	for n := range last - first + 1 {
		day := last - n
		if oldest {
			day = first + n
		}
		args[len(args)-1] = most - len(all)
		ids, err := r.ids(ctx, "SELECT id FROM message INDEXED BY message_client WHERE id / 86400000000 = ? AND"+where, append([]any{day}, args...)...)
		if err != nil {
			return nil, err
		}
		if all = append(all, ids...); len(all) >= most {
			break
		}
	}
	return all, nil
}

// among returns the SQL condition on outcomes, or "" if outcomes is nil.
func among(outcomes []int64) string {
	if outcomes == nil {
		return ""
	}
	return " AND outcome IN (" + list(outcomes) + ")"
}

// list returns numbers as an SQL list.
func list(numbers []int64) string {
	words := make([]string, len(numbers))
	for i, n := range numbers {
		words[i] = strconv.FormatInt(n, 10)
	}
	return strings.Join(words, ",")
}

// address returns the bytes of an address in network order, 4 for IPv4 and 16 for IPv6, so that a network is a range.
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
