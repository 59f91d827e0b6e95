// Package journal stores the decisions of the daemon: an SQLite database in state_dir with a row for each message. It keeps the
// evidence, so that a decision can be explained, repeated, and tried with other rules. Mail never waits for it.
//
// A [Journal] writes; only the daemon has one. A [Reader] reads while the daemon writes. A [Filter] selects messages. A [Query] is a Filter
// as a user writes it. An [Entry] is a message with its decision.Record. docs/decisions/journal.md describes the format.
//
//	reader, err := journal.OpenReader("/var/lib/signpost/journal/journal.db")
//	if err != nil {
//		return err
//	}
//	defer reader.Close()
//	entries, err := reader.Find(ctx, "4bXyz1234") // by queue ID or Message-ID
package journal

import (
	"cmp"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"signpost/internal/decision"
)

// Options configure a Journal. All fields but Lost are required.
type Options struct {
	Path string // its directory is created if it does not exist
	Limits
	Now  func() time.Time
	Log  *slog.Logger
	Lost func(cause Cause, n int) // called from many goroutines when n messages could not be stored; may be nil
}

// Limits are the options that Journal.Limit can change while the journal is open.
type Limits struct {
	Keep      time.Duration // older messages are deleted
	MaxSize   int64         // limit of all files of the journal together, in bytes
	Addresses Addresses
}

// Limits of the writer.
const (
	// queueMessages limits the number of packed messages that wait for the writer, and queueBytes limits their bytes. An ordinary message
	// has about 700 bytes, and a hostile message has at most maxMessage. The queue has room for the mail of a very busy server in one
	// second. A message counts until it is written or lost.
	queueMessages = 8192
	queueBytes    = 8 << 20
	// batchMessages limits the messages of one transaction, and batchBytes limits the bytes that they add to the WAL. batchDelay is the
	// time for which the first message of a batch waits for more.
	batchMessages = 256
	batchBytes    = 8 << 20
	batchDelay    = 200 * time.Millisecond
	// largeBatch replaces batchMessages if max_size is at least largeJournal bytes. Such a journal has room for a larger WAL, and larger
	// batches write fewer pages for each message.
	largeBatch   = 512
	largeJournal = 256 << 20
	// retryInterval is the time between a failure and the next attempt to open or to write the database.
	retryInterval = 10 * time.Second
	// indexRetry is the time between a failure to create an index and the next attempt.
	indexRetry = time.Minute
	// openTimeout limits how long Open waits for the database, whose secret is needed to hash addresses.
	openTimeout = time.Second
	// closeTimeout limits the time in which Close writes queued messages.
	closeTimeout = 5 * time.Second
)

// Journal writes records to the database. Its goroutine is the only writer.
type Journal struct {
	options Options
	queue   chan *row
	queued  atomic.Int64 // bytes of the rows that are not written yet
	stop    chan struct{}
	done    sync.WaitGroup

	limits   atomic.Pointer[Limits]
	secret   atomic.Pointer[[]byte] // the secret of this journal for Addresses Hash; nil until the database is open
	shared   atomic.Pointer[[]byte] // the secret of UseSecret, which replaces it
	stored   *storedTexts
	encoders sync.Pool // of *codec
	chunk    int       // messages of a chunk: chunkMessages, except in tests

	losses  losses
	db      *database // nil while it cannot be opened
	damage  error     // why the file is damaged, until it is renamed
	failure error     // the last failure
	retryAt time.Time // no attempt to open or write is made before this time

	clockReadAt, clockJumpedAt time.Time
	indexAt                    time.Time        // after an error: no index is created before then
	more                       <-chan time.Time // when tidy continues; nil: at the next tick
}

// Open starts the writer. If the database cannot be opened, it logs the error and retries later.
func Open(o Options) *Journal { return newJournal(o).start() }

func (j *Journal) start() *Journal {
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
	j := &Journal{options: o, queue: make(chan *row, queueMessages), stop: make(chan struct{}), stored: newStoredTexts(), chunk: chunkMessages}
	shared := newCodec()
	j.encoders.New = func() any { return &codec{old: shared.old, dictionary: shared.dictionary} } // a Dict has a table of 32 KiB
	j.Limit(o.Limits)
	return j
}

// Limit replaces the limits.
func (j *Journal) Limit(l Limits) { j.limits.Store(&l) }

// UseSecret replaces the secret of this journal for Addresses Hash, so that several journals have the same words.
func (j *Journal) UseSecret(secret []byte) { j.shared.Store(&secret) }

// Add queues a record and never waits. If the queue is full, the record is counted as lost. Add packs the record at once, so that the queue
// does not keep the message or cached DNS answers in memory.
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
	cause := j.full(j.queued.Add(packed.size))
	if cause == "" {
		select {
		case j.queue <- packed:
			return
		default:
			cause = QueueFull
		}
	}
	j.queued.Add(-packed.size)
	j.lose(cause, 1)
}

// full returns the cause of the loss if the queue has no room for another message, and otherwise "". bytes is the size of the queue
// including that message.
func (j *Journal) full(bytes int64) Cause {
	switch {
	case len(j.queue) == cap(j.queue):
		return QueueFull
	case max(bytes, j.queued.Load()) > queueBytes:
		return QueueBytes
	}
	return ""
}

// pack hides the addresses of an entry, cuts it to the limits and packs it.
func (j *Journal) pack(e *Entry) (*row, error) {
	keep, secret := j.limits.Load().Addresses, []byte(nil)
	if s := cmp.Or(j.shared.Load(), j.secret.Load()); s != nil {
		secret = *s
	} else if keep == Hash {
		keep = Omit // until the secret is known
	}
	e.Record = redact(e.Record, keep, secret)
	c := j.encoders.Get().(*codec)
	if cap(c.text) <= maxPooled {
		defer j.encoders.Put(c)
	}
	return pack(e, c, j.stored, !j.pressed())
}

// Close writes the queued messages, for at most closeTimeout, and closes the database.
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
		case <-j.more:
			j.tidy()
		case first := <-j.queue:
			j.writeNext(first)
		}
		j.reportLost()
	}
}

// writeNext collects a batch that begins with first, and writes it.
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
	first.compress(j.db.codec)
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
		r.compress(j.db.codec)
		b.add(r, j.stored)
	}
	j.write(b.rows)
}

// another returns the next message, or nil after timeout. It does not wait on the queue: it polls the queue whenever the channel look
// fires. Otherwise each message would wake this goroutine under load, and preempt the goroutines that handle mail.
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

// end writes the queued messages until the time limit, and then closes the database. It writes at least one batch, because the time limit
// may have passed while the process was suspended.
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

// Cause is the reason why a message could not be stored. It is a label of a metric and is logged.
type Cause string

// The causes.
const (
	QueueFull      Cause = "queue_full"      // too many messages were waiting: the disk or the processor is too slow
	QueueBytes     Cause = "queue_bytes"     // the waiting messages had too many bytes
	DatabaseFailed Cause = "database_failed" // the database could not be opened or written
	NotEncodable   Cause = "not_encodable"   // the record could not be packed: an internal error
	ShutDown       Cause = "shutdown"        // closeTimeout passed before all queued messages were written
)

// Causes returns all causes.
func Causes() []Cause {
	return []Cause{QueueFull, QueueBytes, DatabaseFailed, NotEncodable, ShutDown}
}
