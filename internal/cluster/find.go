package cluster

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/cluster/messages"
	"signpost/internal/journal"
)

const (
	// maxFound is the maximum number of messages with one ID.
	maxFound = 100
	// maxPages limits the queries of a search whose rows do not match: only rows that someone changed do not.
	maxPages = 5
	// readPage is the number of rows of one query if a search reads entries, because no column has what it looks for. searchTime limits such a
	// search. Its answer then has the position at which the next one continues.
	readPage   = 500
	searchTime = 3 * time.Second
)

// Reader finds the copies of messages in the database. Its methods are safe for concurrent use.
type Reader struct {
	Host *Host
	Keep time.Duration // older copies are not found, even if they are not deleted yet
}

// Find returns the messages with a queue ID or, if there are none, with a Message-ID: the newest hundred, the newest first.
func (r *Reader) Find(ctx context.Context, id string) (a messages.Answer, err error) {
	if !strings.Contains(id, "@") { // a queue ID never contains @
		a, err = r.withHash(ctx, columnQueue, []string{id}, func(e *journal.Entry) bool { return e.HasQueueID(id) })
		if len(a.Messages) > 0 || err != nil {
			return a, err
		}
	}
	ids := []string{journal.CutMessageID(id), journal.CutMessageID("<" + id + ">")}
	return r.withHash(ctx, columnMID, ids, func(e *journal.Entry) bool { return e.HasMessageID(id) })
}

// Get returns the message at a position, if there is one.
func (r *Reader) Get(ctx context.Context, at messages.Position) (a messages.Answer, err error) {
	o, err := r.open(ctx)
	if err != nil {
		return a, err
	}
	err = o.read(ctx, []messages.Position{at}, &a, func(*journal.Entry) bool { return true })
	return a, err
}

func (r *Reader) withHash(ctx context.Context, column string, values []string, is func(*journal.Entry) bool) (a messages.Answer, err error) {
	o, err := r.open(ctx)
	if err != nil {
		return a, err
	}
	places, err := o.positions(ctx, query{column: column, values: o.hashes(column, values...), first: o.oldest, limit: maxFound})
	if err != nil {
		return a, err
	}
	err = o.read(ctx, places, &a, is)
	return a, err
}

// List returns the messages that match a search, the newest first.
func (r *Reader) List(ctx context.Context, search messages.Search) (a messages.Answer, err error) {
	f, err := search.Filter()
	if err != nil {
		return a, err
	}
	o, err := r.open(ctx)
	if err != nil {
		return a, err
	}
	q, err := o.query(ctx, f)
	if err != nil {
		return a, err
	}
	f = f.Hashed(o.secrets()...)
	q.after, q.limit = search.After, search.Limit
	begin := time.Now()
	for page := 0; page < maxPages || f.ReadsEntries() && time.Since(begin) < searchTime; page++ {
		if f.ReadsEntries() {
			q.limit = readPage
		}
		places, err := o.positions(ctx, q)
		if err != nil {
			return a, err
		}
		if err := o.read(ctx, places, &a, f.Matches); err != nil {
			return a, err
		}
		a.More = messages.Position{}
		if n := search.Limit; len(a.Messages) > n {
			a.Messages = a.Messages[:n]
			a.More = messages.Position{ID: a.Messages[n-1].ID, Host: a.Messages[n-1].Host}
			break
		}
		if len(places) < q.limit {
			break
		}
		a.More = places[len(places)-1]
		q.after, q.limit = a.More, search.Limit-len(a.Messages)
		if q.limit == 0 {
			break
		}
	}
	return a, nil
}

// copies are the rows of the database, with the site keys.
type copies struct {
	session
	site   string
	keys   *SiteKeys
	packer *journal.Packer
	oldest int64
}

// open returns an error at once if the last synchronization did not reach the database, because a user waits for the answer.
func (r *Reader) open(ctx context.Context) (o copies, err error) {
	if s, err := r.Host.Status(ctx); err == nil && !s.Database.Reachable && !s.Database.Since.IsZero() {
		return o, &control.Refusal{Failure: control.Failure{Error: "the database has not been reachable since " + s.Database.Since.Format(time.RFC3339), Hint: "signpost cluster status"}}
	}
	m, err := r.Host.membership(ctx)
	if err != nil {
		return o, err
	}
	return copies{r.Host.copies(), m.site, m.keys, journal.NewPacker(), r.Host.Now().Add(-r.Keep).UnixMicro()}, nil
}

// hashes returns the hashes of values under each site key.
func (o copies) hashes(column string, values ...string) (all []int64) {
	for _, key := range o.keys.keys {
		for _, value := range values {
			all = append(all, key.hash(column, value))
		}
	}
	return all
}

// secrets returns the keys of the words that replace addresses.
func (o copies) secrets() (all [][]byte) {
	for _, key := range o.keys.keys {
		all = append(all, key.addresses)
	}
	return all
}

// query selects positions. For each value and outcome, it reads the index of the column from its end. This takes the same time for rare and
// for frequent values and outcomes.
type query struct {
	column      string
	values      []int64
	domains     []int64 // nil: all
	outcomes    []int64 // nil: the column has no index of outcomes
	first, last int64   // ids; last 0: no limit
	after       messages.Position
	limit       int
}

// query returns the query of a filter. It leads with the column that probably has the fewest rows.
func (o copies) query(ctx context.Context, f journal.Filter) (q query, err error) {
	q.first = o.oldest
	if !f.Since.IsZero() {
		q.first = max(q.first, f.Since.UnixMicro())
	}
	if !f.Before.IsZero() {
		q.last = f.Before.UnixMicro() - 1
	}
	if f.Domain != "" {
		q.domains = o.hashes(columnDomain, f.Domain)
	}
	if q.outcomes, err = o.outcomes(ctx, f.Outcome); err != nil {
		return q, err
	}
	q.outcomes = append([]int64{}, q.outcomes...) // not nil
	switch {
	case f.MessageID != "":
		q.column, q.values, q.outcomes = columnMID, o.hashes(columnMID, journal.CutMessageID(f.MessageID), journal.CutMessageID("<"+f.MessageID+">")), nil
	case f.Client.IsSingleIP():
		q.column, q.values = columnClient, o.hashes(columnClient, f.Client.Addr().String())
	case f.Client.IsValid():
		q.column, q.values = columnNet, o.hashes(columnNet, networksOf(f)...)
	case f.Domain != "":
		q.column, q.values, q.domains = columnDomain, q.domains, nil
	default:
		q.column, q.values, q.outcomes = columnOutcome, q.outcomes, nil
	}
	return q, nil
}

// networksOf returns the networks of the column net that a network contains, or the one that contains it.
func networksOf(f journal.Filter) (all []string) {
	for p := networkOf(f.Client.Addr()); ; {
		all = append(all, p.String())
		a := p.Addr().AsSlice()
		for i := p.Bits()/8 - 1; i >= 0; i-- { // the next network
			if a[i]++; a[i] != 0 {
				break
			}
		}
		next := networkOf(addressOf(a))
		if !f.Client.Contains(next.Addr()) || next == networkOf(f.Client.Addr()) {
			return all
		}
		p = next
	}
}

func addressOf(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

// positions returns the positions of a query, the newest first.
func (o copies) positions(ctx context.Context, q query) (all []messages.Position, err error) {
	if len(q.values) == 0 || q.outcomes != nil && len(q.outcomes) == 0 {
		return nil, nil
	}
	const order = " ORDER BY id DESC, host DESC LIMIT "
	part, args := "SELECT host, id FROM sp_message WHERE "+q.column+" = ? AND id >= ?", []any{q.first}
	if q.last > 0 {
		part, args = part+" AND id <= ?", append(args, q.last)
	}
	if q.after.ID > 0 {
		part, args = part+" AND id <= ? AND (id < ? OR host < ?)", append(args, q.after.ID, q.after.ID, q.after.Host)
	}
	among := func(column string, values []int64) {
		if len(values) > 0 {
			part += " AND " + column + " IN " + tuples(1, len(values))
			args = append(args, numbers(values)...)
		}
	}
	among(columnDomain, q.domains)
	if q.column == columnNet && len(q.values) > len(o.keys.keys) { // there are too many networks for a query of each
		among(columnOutcome, q.outcomes)
		part = strings.Replace(part, "= ?", "IN "+tuples(1, len(q.values)), 1) + order + "?"
		err = o.scanPositions(ctx, &all, part, append(append(numbers(q.values), args...), q.limit))
		return all, err
	}
	if q.outcomes != nil {
		part += " AND outcome = ?"
	}
	part += order + "?"
	var every []any
	n := 0
	for _, v := range q.values {
		for i := range max(1, len(q.outcomes)) {
			every = append(append(every, v), args...)
			if q.outcomes != nil {
				every = append(every, q.outcomes[i])
			}
			every, n = append(every, q.limit), n+1
		}
	}
	if n > 1 {
		part, every = "("+strings.Repeat(part+") UNION ALL (", n-1)+part+")"+order+"?", append(every, q.limit)
	}
	err = o.scanPositions(ctx, &all, part, every)
	return all, err
}

func numbers(all []int64) (args []any) {
	for _, n := range all {
		args = append(args, n)
	}
	return args
}

func (o copies) scanPositions(ctx context.Context, all *[]messages.Position, text string, args []any) error {
	return o.each(ctx, func(scan func(...any) error) error {
		var p messages.Position
		err := scan(&p.Host, &p.ID)
		*all = append(*all, p)
		return err
	}, text, args...)
}

// Forget deletes the copies of all hosts that mention an address, and returns their number. The forms are those of journal.Reader.Forms. If
// dryRun is set, it deletes nothing. It reads all copies. After an error, it can be repeated.
func (r *Reader) Forget(ctx context.Context, forms []string, dryRun bool) (n int, err error) {
	o, err := r.open(ctx)
	if err != nil {
		return 0, err
	}
	for host := ""; ; {
		if host, err = o.nextHost(ctx, host); err != nil || host == "" {
			return n, err
		}
		for after, more := int64(0), true; more; {
			var found []any
			rows := 0
			err := o.each(ctx, func(scan func(...any) error) error {
				r := messageRow{at: messages.Position{Host: host}}
				if err := scan(&r.at.ID, &r.siteKey, &r.entry); err != nil {
					return err
				}
				rows, after = rows+1, r.at.ID
				if e, err := o.keys.unsealMessage(o.packer, o.site, r); err == nil && e.Mentions(forms) {
					found = append(found, host, r.at.ID)
				}
				return nil
			}, "SELECT id, key_id, "+entryColumn+" FROM sp_message WHERE host = ? AND id > ? ORDER BY id LIMIT ?", host, after, batch)
			if err != nil {
				return n, err
			}
			more = rows == batch
			if len(found) > 0 && !dryRun {
				if _, err := o.exec(ctx, "DELETE FROM sp_message WHERE (host, id) IN ("+tuples(len(found)/2, 2)+")", found...); err != nil {
					return n, err
				}
			}
			n += len(found) / 2
		}
	}
}

// entryColumn reads an entry that is larger than one can be as an empty one, which does not verify.
const entryColumn = "CASE WHEN OCTET_LENGTH(entry) <= 262144 THEN entry ELSE '' END"

// read adds the messages at positions, in their order, if they match. It counts the rows that it omits.
func (o copies) read(ctx context.Context, places []messages.Position, a *messages.Answer, matches func(*journal.Entry) bool) error {
	if a.Messages == nil {
		a.Messages = []messages.Message{}
	}
	for some := range slices.Chunk(places, batch) {
		var args []any
		for _, p := range some {
			args = append(args, p.Host, p.ID)
		}
		rows := map[messages.Position]messageRow{}
		err := o.each(ctx, func(scan func(...any) error) error {
			var r messageRow
			err := scan(&r.at.Host, &r.at.ID, &r.siteKey, &r.entry)
			rows[r.at] = r
			return err
		}, "SELECT host, id, key_id, "+entryColumn+" FROM sp_message WHERE (host, id) IN ("+tuples(len(some), 2)+")", args...)
		if err != nil {
			return err
		}
		for _, p := range some {
			r, ok := rows[p]
			if !ok { // it was deleted in the meantime
				continue
			}
			e, err := o.keys.unsealMessage(o.packer, o.site, r)
			switch {
			case errors.Is(err, errUnknownKey):
				a.Unknown++
			case errors.Is(err, errForged):
				a.Refused++
			case err != nil:
				a.Later++
			case !matches(&e): // someone changed the other columns, or two texts have the same hash
			default:
				a.Messages = append(a.Messages, messages.Message{Host: p.Host, Entry: e})
			}
		}
	}
	return nil
}
