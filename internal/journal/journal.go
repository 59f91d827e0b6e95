// Package journal is the daemon's memory of its decisions: a SQLite database in state_dir with a row for each message. It
// keeps the evidence, so that a decision can be explained, made again, and tried under other rules. Mail never waits for it.
package journal

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"signpost/internal/dns"
	"signpost/internal/filter"
)

// Options are what a Journal needs. All but Lost must be given.
type Options struct {
	Path string // its folder is made where it is not there
	Limits
	Now  func() time.Time
	Log  *slog.Logger
	Lost func(n int) // is told how many messages could not be kept
}

// Limits are what may change while the journal is written.
type Limits struct {
	Keep      time.Duration // what is older is deleted
	MaxSize   int64         // octets of all the journal's files together
	Addresses Addresses
}

// Bounds of the writer.
const (
	// room is how many messages wait at the most, some seconds of a busy server, and maxWeight what they may keep in memory:
	// one with a header of usual size and what it asked are some 10 KiB, a hostile one is hundreds of times that.
	room      = 4096
	maxWeight = 64 << 20
	// batch is how many go into one transaction, heavy how many octets of entries end it before that, and linger how long the
	// first of them waits for others.
	batch  = 256
	heavy  = 1 << 20
	linger = 200 * time.Millisecond
	// largeBatch is how many they are where the journal may take plenty, since its log then may, too: each of these messages
	// writes to pages that the others write to as well.
	largeBatch = 512
	plenty     = 256 << 20
	// again is how long the journal rests after a failure before it is opened or written again.
	again = 10 * time.Second
	// closing is how long Close waits for what is still to be written.
	closing = 5 * time.Second
)

// Journal writes. Its goroutine is the only writer of the database.
type Journal struct {
	options Options
	entries chan *waiting
	weight  atomic.Int64 // octets of what waits
	stop    chan struct{}
	done    sync.WaitGroup

	limits atomic.Pointer[Limits]

	lost atomic.Int64 // not yet said
	said time.Time    // when it was last said what was lost
	db   *database    // nil while it cannot be opened
	harm error        // what showed that the file is broken, until it is put aside
	rest time.Time    // not before then is it tried again

	looked, leapt time.Time        // when the clock was looked at last, and when it had leapt
	more          <-chan time.Time // when to go on with tidying up; nil: at the next look
}

// Open starts the journal. That it cannot be opened is said in the log, and tried again from time to time.
func Open(o Options) *Journal {
	if o.Lost == nil {
		o.Lost = func(int) {}
	}
	j := &Journal{options: o, entries: make(chan *waiting, room), stop: make(chan struct{})}
	j.Limit(o.Limits)
	j.done.Go(j.run)
	return j
}

// Limit gives other limits.
func (j *Journal) Limit(l Limits) { j.limits.Store(&l) }

// waiting is a message before it is written.
type waiting struct {
	Entry
	answered dns.Answered
	weight   int64
}

// Add takes a message. It returns at once: where there is no room the message is lost to the journal, and counted.
func (j *Journal) Add(r filter.Report) { j.Keep(filter.Kept{Report: r}) }

// Keep is Add for one whose look-ups are still to be written out: filter.Filter.Kept.
func (j *Journal) Keep(k filter.Kept) {
	w := &waiting{Entry: Entry{Time: j.options.Now(), Report: k.Report}, answered: k.Answered, weight: int64(k.Header + k.Answered.Size())}
	if j.weight.Add(w.weight) <= maxWeight {
		select {
		case j.entries <- w:
			return
		default:
		}
	}
	j.weight.Add(-w.weight)
	j.lose(1)
}

// pack makes a message that waited small; one for which that cannot be done is lost.
func (j *Journal) pack(batch []row, w *waiting) []row {
	if w.Lookups == nil {
		w.Lookups = w.answered.Lookups()
	}
	w.Report = redact(shorten(w.Report), j.limits.Load().Addresses, j.db.salt)
	r, err := j.db.pack(&w.Entry)
	j.weight.Add(-w.weight)
	if err != nil {
		j.options.Log.Error("a message cannot be written to the journal", "queue_id", w.Evidence.QueueID, "error", err)
		j.lose(1)
		return batch
	}
	return append(batch, r)
}

// Close writes what was added and closes the database.
func (j *Journal) Close() {
	close(j.stop)
	j.done.Wait()
}

func (j *Journal) lose(n int) {
	j.lost.Add(int64(n))
	j.options.Lost(n)
}

// run gathers batches until Close.
func (j *Journal) run() {
	defer func() { j.end(time.Now().Add(closing)) }()
	j.open()
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
		case first := <-j.entries:
			j.next(first)
		}
		j.confess()
	}
}

// next writes the batch that a message begins.
func (j *Journal) next(first *waiting) {
	if !j.ready() {
		j.weight.Add(-first.weight)
		j.lose(1)
		return
	}
	most := batch
	if j.limits.Load().MaxSize >= plenty {
		most = largeBatch
	}
	rows := j.pack(make([]row, 0, most), first)
	timeout := time.NewTimer(linger)
	defer timeout.Stop()
	look := time.NewTicker(linger / 10)
	defer look.Stop()
	for len(rows) < most {
		w := j.another(look.C, timeout.C)
		if w == nil {
			break
		}
		rows = j.pack(rows, w)
	}
	j.write(rows)
}

// another is the next message, nil where none comes in time. It looks now and then instead of waiting for each, so that under
// load a message of the mail's own goroutines is not followed by a turn of this one.
func (j *Journal) another(look, timeout <-chan time.Time) *waiting {
	for {
		select {
		case w := <-j.entries:
			return w
		default:
		}
		select {
		case <-look:
			continue
		case <-timeout:
		case <-j.stop:
			if len(j.entries) > 0 {
				continue
			}
		}
		return nil
	}
}

// end writes what is left, until a time; a batch of it in any case, so that nothing is lost only because the process, or its
// machine, stood still for a while.
func (j *Journal) end(limit time.Time) {
	for first := true; len(j.entries) > 0 && (first || time.Now().Before(limit)); first = false {
		j.next(<-j.entries)
	}
	j.lose(len(j.entries))
	j.said = time.Time{}
	j.confess()
	if j.db != nil {
		j.db.close()
	}
}

// confess says how many messages were lost, once a minute at the most.
func (j *Journal) confess() {
	if now := j.options.Now(); now.Sub(j.said) >= time.Minute {
		if n := j.lost.Swap(0); n > 0 {
			j.said = now
			j.options.Log.Error("messages are missing from the journal; mail went on", "messages", n, "file", j.options.Path)
		}
	}
}
