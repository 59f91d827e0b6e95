package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/durable"
	"signpost/internal/journal"
)

const (
	// ShipPause is the time between two rounds if there are more messages to copy. With shipRows, it limits the processor time that a
	// backlog takes from mail: to less than a tenth of a processor.
	ShipPause = time.Second
	// shipRows is the maximum number of messages of one round.
	shipRows = 1000
	// insertRows and insertBytes limit one INSERT. On a slow disk, a row takes 30 ms, because it changes six indexes in random places.
	insertRows  = 100
	insertBytes = 2 << 20
	// maxAhead is how far the messages of a journal may be ahead of the time of the database. If they are further ahead, the clock of this
	// host was wrong. The journal gives such messages other numbers later, so no message is copied until then.
	maxAhead = time.Hour
	// expireInterval is the time between two deletions of expired copies, and expireTime limits the time of one deletion. expireRows is the
	// number of copies that one statement deletes.
	expireInterval = time.Minute
	expireTime     = 10 * time.Second
	expireRows     = 200
	// sizeInterval is the time between two queries of the size of the copies.
	sizeInterval = 5 * time.Minute
)

// Shipper copies the messages of the journal of this host that failed or were acted upon to the database: those with Outcome.Failed. It keeps
// the number of the last message that was copied, so that a message is copied again after a crash, and never omitted. Its methods are for
// one goroutine.
type Shipper struct {
	Host    *Host
	Journal string        // the path; empty: nothing is copied
	Keep    time.Duration // older copies are deleted, by the host that holds the lease

	packer    *journal.Packer
	state     *shipState // nil: not loaded
	saved     []byte
	fault     string // the last error that was logged
	logged    int64  // the number of lost messages that was logged
	bytes     int64
	sizedAt   time.Time
	expiredAt time.Time
}

// shipState is STATE_DIR/cluster/messages.json.
type shipState struct {
	Site    string    `json:"site"`
	Restore int64     `json:"restore"` // state.Restore: after accept-restore, all messages are copied again
	Journal string    `json:"journal"` // the identity of the journal
	Copied  int64     `json:"copied"`  // all messages up to this number were copied
	Counted int64     `json:"counted"` // all messages up to this number were counted
	Seen    int64     `json:"seen"`    // messages that were counted
	Shipped int64     `json:"shipped"`
	Lost    int64     `json:"lost"`
	LostAt  time.Time `json:"lost_at,omitzero"`
	Since   time.Time `json:"since,omitzero"` // of the oldest message that waits
}

func (s *shipState) waiting() int64 { return max(0, s.Seen-s.Shipped-s.Lost) }

// recount makes the messages that wait be counted again.
func (s *shipState) recount() {
	s.Counted, s.Seen, s.Since = s.Copied, s.Shipped+s.Lost, time.Time{}
}

// lose counts messages that cannot be copied.
func (s *shipState) lose(n int64, now time.Time) {
	if n > 0 {
		s.Lost, s.LostAt = s.Lost+n, now.UTC()
	}
}

const shipName = "messages.json"

// Ship copies the next messages. more reports that there are more of them. It logs an error once.
func (s *Shipper) Ship(ctx context.Context) (more bool) {
	if s.packer == nil {
		s.packer = journal.NewPacker()
	}
	more, err := s.round(ctx)
	if ctx.Err() != nil {
		return false
	}
	fault := ""
	if err != nil {
		fault = err.Error()
	}
	log := s.Host.Log
	if down := (*Unreachable)(nil); fault != s.fault && err != nil && !errors.As(err, &down) { // Sync logs that the database is down
		log.Error("cluster messages not copied to the database", "error", err)
	}
	s.fault = fault
	if s.state == nil {
		return false
	}
	if s.state.Lost > s.logged {
		log.Warn("cluster messages lost before they were copied to the database", "messages", s.state.Lost-s.logged)
		s.logged = s.state.Lost
	}
	s.Host.setMessages(control.Messages{Shipped: s.state.Shipped, Waiting: s.state.waiting(), Since: s.state.Since, Lost: s.state.Lost, LostAt: s.state.LostAt, Bytes: s.bytes, Error: fault})
	return more && err == nil
}

// copies returns the session for the copies of messages.
func (h *Host) copies() session {
	if h.Copies != nil {
		return h.Copies.session()
	}
	return h.DB.session()
}

func (h *Host) setMessages(m control.Messages) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status.Messages = &m
}

// membership is what a registered host needs for the copies.
type membership struct {
	site    string
	restore int64
	keys    *SiteKeys
	seal    siteKey
}

// membership returns an error if this host is not registered.
func (h *Host) membership(ctx context.Context) (m membership, err error) {
	end, err := h.begin(ctx)
	if err != nil {
		return m, err
	}
	defer end()
	if err := h.ready(); err != nil {
		return m, err
	}
	return membership{h.state.Site, h.state.Restore, h.keys, h.sealKey()}, nil
}

func (s *Shipper) round(ctx context.Context) (more bool, err error) {
	if s.Journal == "" {
		return false, s.maintain(ctx)
	}
	m, err := s.Host.membership(ctx)
	if err != nil {
		return false, err
	}
	if err := s.load(m.site, m.restore); err != nil {
		return false, err
	}
	r, err := journal.OpenReader(s.Journal)
	if errors.Is(err, journal.ErrNone) {
		return false, s.maintain(ctx)
	}
	if err != nil {
		return false, err
	}
	defer r.Close()
	newest, err := s.count(ctx, r)
	if err == nil {
		err = s.save() // so that messages are counted even if the database is down, and the journal deletes them
	}
	if err != nil {
		return false, err
	}
	if err := s.maintain(ctx); err != nil {
		return false, err
	}
	if s.state.Copied >= newest {
		return false, nil
	}
	sealer := &sealer{key: m.seal, site: m.site, host: s.Host.Name, packer: s.packer}
	if more, err = s.copy(ctx, r, sealer, newest); err != nil {
		return false, err
	}
	return more, s.save()
}

// count counts the new messages. It returns the number of the newest message.
func (s *Shipper) count(ctx context.Context, r *journal.Reader) (newest int64, err error) {
	identity, err := r.Identity(ctx)
	if err != nil {
		return 0, err
	}
	_, last, err := r.Covers(ctx)
	if err != nil {
		return 0, err
	}
	if !last.IsZero() {
		newest = last.UnixMicro()
	}
	st := s.state
	switch {
	case st.Journal != identity: // a new journal; what waited in the former one is lost
		if st.Journal != "" {
			st.lose(st.waiting(), s.Host.Now())
		}
		st.Journal, st.Copied = identity, 0
		st.recount()
	case newest < st.Counted && newest > 0: // the newest messages were deleted, or messages of the future got numbers of the present
		st.Copied = min(st.Copied, newest)
		st.recount()
	}
	if newest <= st.Counted {
		return newest, nil
	}
	f := s.filter(st.Counted, newest)
	n, first, err := r.Number(ctx, f)
	if err != nil {
		return 0, err
	}
	if st.Seen, st.Counted = st.Seen+n, newest; st.Since.IsZero() && n > 0 {
		st.Since = first.UTC()
	}
	return newest, nil
}

// filter selects the messages to be copied, after one number and up to another.
func (s *Shipper) filter(after, last int64) journal.Filter {
	return journal.Filter{Outcome: journal.Outcome.Failed, After: after, Before: time.UnixMicro(last + 1)}
}

// copy copies the next messages up to the number newest.
func (s *Shipper) copy(ctx context.Context, r *journal.Reader, sealer *sealer, newest int64) (more bool, err error) {
	db, st, now := s.Host.copies(), s.state, s.Host.Now()
	databaseMS, err := db.clock(ctx)
	if err != nil {
		return false, err
	}
	if ahead := time.UnixMicro(newest).Sub(time.UnixMilli(databaseMS)); ahead > maxAhead {
		return false, fmt.Errorf("the journal has messages that are %s later than the clock of the database; the journal renumbers them when the clock of this host has been correct for a day", ahead.Round(time.Minute))
	}
	expired := s.expired(databaseMS)
	ids, err := r.IDs(ctx, s.filter(st.Copied, newest), shipRows, true)
	if err != nil {
		return false, err
	}
	entries, err := r.Entries(ctx, ids)
	if err != nil {
		return false, err
	}
	unread := int64(len(ids) - len(entries)) // those that are damaged, or were deleted a moment ago
	b := shipment{outcomes: map[int64]string{}}
	flush := func() error {
		if len(b.rows) > 0 {
			if err := db.putMessages(ctx, b.rows, b.outcomes); err != nil {
				return err
			}
			st.Copied = b.rows[len(b.rows)-1].at.ID
		}
		st.Shipped += b.messages
		b = shipment{outcomes: map[int64]string{}}
		return nil
	}
	for i := range entries {
		e := &entries[i]
		if e.ID < expired { // the copy would be deleted at once
			b.messages++
			continue
		}
		row, err := sealer.row(e)
		if err != nil {
			unread++
			continue
		}
		b.messages++
		b.add(row, e.Outcome())
		if b.bytes >= insertBytes || len(b.rows) == insertRows {
			if err := flush(); err != nil {
				return false, err
			}
		}
	}
	if err := flush(); err != nil {
		return false, err
	}
	st.lose(unread, now)
	if len(ids) == shipRows {
		st.Copied = ids[shipRows-1]
		st.Since = time.UnixMicro(st.Copied).UTC()
		return true, nil
	}
	st.Copied, st.Since = newest, time.Time{}
	st.lose(st.waiting(), now) // the journal deleted them
	st.Seen = st.Shipped + st.Lost
	return false, nil
}

// shipment are the rows of one INSERT.
type shipment struct {
	rows     []messageRow
	outcomes map[int64]string
	bytes    int
	messages int64
}

func (b *shipment) add(r messageRow, o journal.Outcome) {
	b.rows = append(b.rows, r)
	b.outcomes[r.outcome] = outcomeWords(o)
	b.bytes += len(r.entry) + rowBytes/2
}

// maintain deletes expired copies, if this host holds the lease, and reads the size of the copies.
func (s *Shipper) maintain(ctx context.Context) error {
	db, now := s.Host.copies(), s.Host.Now()
	if now.Sub(s.sizedAt).Abs() >= sizeInterval {
		if _, err := db.one(ctx, db.bytes, nil, &s.bytes); err != nil {
			return err
		}
		s.sizedAt = now
	}
	if l, err := s.Host.Lease(ctx); err != nil || !l.Mine || now.Sub(s.expiredAt).Abs() < expireInterval {
		return err
	}
	s.expiredAt = now
	return s.expire(ctx, db)
}

// expire deletes expired copies of all hosts, also of hosts that have left.
func (s *Shipper) expire(ctx context.Context, db session) error {
	databaseMS, err := db.clock(ctx)
	if err != nil {
		return err
	}
	before := s.expired(databaseMS)
	begin := time.Now()
	for host := ""; time.Since(begin) < expireTime; {
		var err error
		if host, err = db.nextHost(ctx, host); err != nil || host == "" {
			return err
		}
		for more := true; more && time.Since(begin) < expireTime; {
			if more, err = db.deleteMessages(ctx, host, before, expireRows); err != nil {
				return err
			}
		}
	}
	return nil
}

// expired returns the number before which copies have expired. A message expires when it is too old by the clocks of the database and of this
// host, so that one clock that is far ahead deletes nothing.
func (s *Shipper) expired(databaseMS int64) int64 {
	return min(databaseMS*1000, s.Host.Now().UnixMicro()) - s.Keep.Microseconds()
}

// load reads the state. It begins a new one in another cluster, and after accept-restore.
func (s *Shipper) load(site string, restore int64) error {
	if s.state == nil {
		tree := durable.Tree{s.Host.Store.State}
		data, err := tree.Read(filepath.Join(s.Host.Store.State, stateDir, shipName))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		st := &shipState{}
		if err == nil && json.Unmarshal(data, st) != nil {
			st = &shipState{} // all messages are copied again, which changes nothing
		}
		s.state, s.logged = st, st.Lost
	}
	if st := s.state; st.Site != site || st.Restore != restore {
		s.state = &shipState{Site: site, Restore: restore, Shipped: st.Shipped, Lost: st.Lost, LostAt: st.LostAt, Seen: st.Shipped + st.Lost}
	}
	return nil
}

// save writes the state if it has changed.
func (s *Shipper) save() error {
	data, err := json.Marshal(s.state)
	if err != nil || string(data) == string(s.saved) {
		return err
	}
	dir := s.Host.Store.State
	if err := (durable.Tree{dir}).Write(filepath.Join(dir, stateDir, shipName), data, dir, 0o600); err != nil {
		return err
	}
	s.saved = data
	return nil
}
