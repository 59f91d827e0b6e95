package journal

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Filter chooses messages. Its zero value is all of them.
type Filter struct {
	Domain        string       // Author Domain
	Client        netip.Prefix // not valid: any
	Outcome       func(Outcome) bool
	Since, Before time.Time // zero: no bound
	After         int64     // messages with greater numbers
}

// numbers are the outcomes that a filter takes; nil: all.
func (r *Reader) numbers(f Filter) ([]int64, error) {
	if f.Outcome == nil {
		return nil, nil
	}
	var err error
	if r.outcomes, err = readOutcomes(r.DB); err != nil { // new ones come as mail does
		return nil, err
	}
	ids := []int64{}
	for o, id := range r.outcomes {
		if f.Outcome(o) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// conditions are those of time, and the arguments that go with them.
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

// IDs gives the numbers of the newest messages that a filter takes, newest first; oldest turns it round: the oldest, oldest first.
//
// There is an index for each of outcome and domain with outcome, and each has the numbers in order; so the database is asked
// once for each outcome, and what it answers is merged. No such question reads more than most rows. Clients: byClient, unless the
// network is wide or few messages come into question.
func (r *Reader) IDs(ctx context.Context, f Filter, most int, oldest bool) ([]int64, error) {
	order, sorted := " ORDER BY id DESC LIMIT ?", func(a, b int64) int { return int(min(1, max(-1, b-a))) }
	if oldest {
		order, sorted = " ORDER BY id LIMIT ?", func(a, b int64) int { return int(min(1, max(-1, a-b))) }
	}
	outcomes, err := r.numbers(f)
	if err != nil {
		return nil, err
	}
	where, args := f.conditions()
	if f.Domain != "" {
		where, args = where+" AND domain = ?", append(args, f.Domain)
	}
	if f.Client.IsSingleIP() {
		if outcomes == nil && f.Domain != "" { // so that the index leads to the domain
			if outcomes, err = r.every(); err != nil {
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
		if outcomes, err = r.every(); err != nil {
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

// every is the numbers of all outcomes.
func (r *Reader) every() (all []int64, err error) {
	if r.outcomes, err = readOutcomes(r.DB); err != nil {
		return nil, err
	}
	for _, id := range r.outcomes {
		all = append(all, id)
	}
	return all, nil
}

// wide says that a network has so much of the world that most messages are of it: the newest ones are found the soonest by
// looking at one after the other.
func wide(p netip.Prefix) bool {
	return p.Addr().Is4() && p.Bits() < 8 || p.Addr().Is6() && p.Bits() < 16
}

// rare is how many messages can be looked at one by one in a fraction of a second.
const rare = 10_000

// few says that outcomes are chosen that are rare: then their index leads to the messages of a network the soonest.
func (r *Reader) few(ctx context.Context, f Filter, outcomes []int64) (bool, error) {
	if outcomes == nil {
		return false, nil
	}
	var n int64
	err := r.QueryRowContext(ctx, "SELECT coalesce(sum(n), 0) FROM hour WHERE hour >= ?"+among(outcomes), max(f.After, f.Since.UnixMicro())/hourMicros).Scan(&n)
	return n <= rare, err
}

const (
	hourMicros = int64(time.Hour / time.Microsecond)
	dayMicros  = 24 * hourMicros
)

// byClient goes day by day, as the index of clients does, until it has enough.
func (r *Reader) byClient(ctx context.Context, f Filter, where string, args []any, oldest bool) (all []int64, err error) {
	var first, last int64
	// Two questions: with both in one SQLite reads the whole table.
	if err := r.QueryRowContext(ctx, "SELECT coalesce((SELECT min(id) FROM message), 0), coalesce((SELECT max(id) FROM message), 0)").Scan(&first, &last); err != nil {
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

// among is the condition on outcomes; none for nil.
func among(outcomes []int64) string {
	if outcomes == nil {
		return ""
	}
	return " AND outcome IN (" + list(outcomes) + ")"
}

// list writes numbers as SQL has them.
func list(numbers []int64) string {
	words := make([]string, len(numbers))
	for i, n := range numbers {
		words[i] = strconv.FormatInt(n, 10)
	}
	return strings.Join(words, ",")
}

// address writes an address so that the order of octets is that of addresses: IPv4 as 4 octets, IPv6 as 16.
func address(a netip.Addr) []byte {
	if !a.IsValid() {
		return []byte{}
	}
	return a.Unmap().WithZone("").AsSlice()
}

// unaddress reads it again; "unknown" where Postfix did not know it.
func unaddress(b []byte) string {
	if a, ok := netip.AddrFromSlice(b); ok {
		return a.String()
	}
	return "unknown"
}

// span is the first and the last address of a network.
func span(p netip.Prefix) (first, last []byte) {
	first = p.Masked().Addr().AsSlice()
	last = slices.Clone(first)
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	return first, last
}
