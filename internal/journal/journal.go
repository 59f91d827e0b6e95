// Package journal stores the decisions of the daemon: a SQLite database in state_dir with a row for each message. It
// keeps the evidence, so that a decision can be explained, made again, and tried under other rules. Mail never waits for it.
package journal

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"signpost/internal/decision"
)

// Options configure a Journal. All but Lost are required.
type Options struct {
	Path string // its directory is created if it does not exist
	Limits
	Now  func() time.Time
	Log  *slog.Logger
	Lost func(cause Cause, n int) // called for messages that the journal could not keep, from many goroutines
}

// Limits may change while the journal is open.
type Limits struct {
	Keep      time.Duration // what is older is deleted
	MaxSize   int64         // bytes of all the journal's files together
	Addresses Addresses
}

// Bounds of the writer.
const (
	// queueMessages is how many packed messages wait at most for the writer, and queueBytes how many bytes they hold at most. An
	// ordinary one holds some 700 bytes, a hostile one at most maxMessage. The queue absorbs a second of a very busy server. The
	// bytes count until the message is written or lost.
	queueMessages = 8192
	queueBytes    = 8 << 20
	// batchMessages is how many messages go into one transaction, batchBytes how many bytes they may add to the database's log,
	// and batchDelay how long the first of them waits for the others.
	batchMessages = 256
	batchBytes    = 8 << 20
	batchDelay    = 200 * time.Millisecond
	// largeBatch applies instead of batchMessages from largeJournal bytes on: a journal with that much space has room for a larger
	// log, and each of these messages writes to pages that the others write to as well.
	largeBatch   = 512
	largeJournal = 256 << 20
	// retryInterval is the time between a failure and the next attempt to open or to write the database.
	retryInterval = 10 * time.Second
	// openTimeout is how long Open waits until the database is open. Its secret is needed to hash addresses.
	openTimeout = time.Second
	// closeTimeout is how long Close writes what is still queued.
	closeTimeout = 5 * time.Second
)

// Journal writes. Its goroutine is the only writer of the database.
type Journal struct {
	options Options
	queue   chan *row
	queued  atomic.Int64 // bytes of the rows that are not written yet
	stop    chan struct{}
	done    sync.WaitGroup

	limits   atomic.Pointer[Limits]
	secret   atomic.Pointer[[]byte] // of Addresses Hash; nil until the database is open
	stored   *storedTexts
	encoders sync.Pool // of *codec

	losses  losses
	db      *database // nil while it cannot be opened
	damage  error     // why the file is broken, until it is put aside
	failure error     // the last failure
	retryAt time.Time // no attempt to open or write before then

	clockReadAt, clockJumpedAt time.Time
	moreToDelete               <-chan time.Time // when tidy continues; nil: at the next tick
}

// Open starts the journal. A failure to open the database is logged, and the attempt is repeated later.
func Open(o Options) *Journal {
	j := newJournal(o)
	opened := make(chan struct{})
	j.done.Go(func() { j.run(opened) })
	select {
	case <-opened:
	case <-time.After(openTimeout):
	}
	return j
}

func newJournal(o Options) *Journal {
	if o.Lost == nil {
		o.Lost = func(Cause, int) {}
	}
	j := &Journal{options: o, queue: make(chan *row, queueMessages), stop: make(chan struct{}), stored: newStoredTexts()}
	j.encoders.New = func() any { return newCodec() }
	j.Limit(o.Limits)
	return j
}

// Limit replaces the limits.
func (j *Journal) Limit(l Limits) { j.limits.Store(&l) }

// Add queues a message and never waits: if the queue is full, the message is lost to the journal and counted. It packs the message
// first, so that nothing of the message itself, its header or the DNS cache stays in memory.
func (j *Journal) Add(r *decision.Record) {
	if cause := j.full(0); cause != "" {
		j.lose(cause, 1)
		return
	}
	e := Entry{Time: j.options.Now(), Record: *r}
	if e.Lookups == nil {
		e.Lookups = r.Answered.Shortened()
	}
	packed, err := j.pack(&e)
	if err != nil {
		j.options.Log.Error("a message cannot be written to the journal", "queue_id", e.QueueID, "error", err)
		j.lose(NotEncodable, 1)
		return
	}
	cause := j.full(j.queued.Add(packed.bytes()))
	if cause == "" {
		select {
		case j.queue <- packed:
			return
		default:
			cause = QueueFull
		}
	}
	j.queued.Add(-packed.bytes())
	j.lose(cause, 1)
}

// full returns the cause of a loss if the queue cannot take another message, and "" if it can. bytes is what the queue holds with
// that message.
func (j *Journal) full(bytes int64) Cause {
	switch {
	case len(j.queue) == cap(j.queue):
		return QueueFull
	case max(bytes, j.queued.Load()) > queueBytes:
		return QueueBytes
	}
	return ""
}

// pack hides the addresses of a message, cuts it to the bounds and packs it.
func (j *Journal) pack(e *Entry) (*row, error) {
	keep, secret := j.limits.Load().Addresses, []byte(nil)
	if s := j.secret.Load(); s != nil {
		secret = *s
	} else if keep == Hash {
		keep = Omit // less than the operator allows rather than more
	}
	e.Record = redact(e.Record, keep, secret)
	c := j.encoders.Get().(*codec)
	if c.text.Cap() <= maxPooled {
		defer j.encoders.Put(c)
	}
	return pack(e, c, j.stored)
}

// Close writes what is queued and closes the database.
func (j *Journal) Close() {
	close(j.stop)
	j.done.Wait()
}

// run writes batches until Close.
func (j *Journal) run(opened chan<- struct{}) {
	defer func() { j.end(time.Now().Add(closeTimeout)) }()
	j.open()
	close(opened)
	tidy := time.NewTicker(time.Minute)
	defer tidy.Stop()
	for {
		select {
		case <-j.stop:
			return
		case <-tidy.C:
			j.tidy()
		case <-j.moreToDelete:
			j.tidy()
		case first := <-j.queue:
			j.writeNext(first)
		}
		j.reportLost()
	}
}

// writeNext gathers and writes the batch that begins with a message.
func (j *Journal) writeNext(first *row) {
	if !j.ready() {
		j.discard(DatabaseFailed, first)
		return
	}
	most, mostBytes := batchMessages, int64(batchBytes)
	if j.limits.Load().MaxSize >= largeJournal {
		most, mostBytes = largeBatch, 2*batchBytes
	}
	b := &batch{rows: make([]*row, 0, most), texts: map[int64]bool{}}
	b.add(first, j.stored)
	timeout := time.NewTimer(batchDelay)
	defer timeout.Stop()
	look := time.NewTicker(batchDelay / 10)
	defer look.Stop()
	for len(b.rows) < most && b.logBytes < mostBytes {
		r := j.another(look.C, timeout.C)
		if r == nil {
			break
		}
		b.add(r, j.stored)
	}
	j.write(b.rows)
}

// another returns the next message, nil if none comes in time. It polls instead of waiting for each message, so that under
// load this goroutine does not preempt those that handle mail after each of their messages.
func (j *Journal) another(look, timeout <-chan time.Time) *row {
	for {
		select {
		case r := <-j.queue:
			return r
		default:
		}
		select {
		case <-look:
			continue
		case <-timeout:
		case <-j.stop:
			if len(j.queue) > 0 {
				continue
			}
		}
		return nil
	}
}

// end writes what is queued until a time, but at least one batch, so that nothing is lost only because the process, or its
// machine, was suspended.
func (j *Journal) end(limit time.Time) {
	for first := true; len(j.queue) > 0 && (first || time.Now().Before(limit)); first = false {
		j.writeNext(<-j.queue)
	}
	for len(j.queue) > 0 {
		j.discard(ShutDown, <-j.queue)
	}
	j.losses.reportedAt = time.Time{}
	j.reportLost()
	if j.db != nil {
		j.db.close()
	}
}
