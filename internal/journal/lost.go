package journal

import (
	"sync"
	"time"
)

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

// reportInterval is the minimum time between two log messages about lost messages.
const reportInterval = time.Minute

// losses counts the messages that were lost and are not logged yet, by cause.
type losses struct {
	mu         sync.Mutex
	n          map[Cause]int
	reportedAt time.Time // used only by the writer's goroutine
}

func (j *Journal) lose(cause Cause, n int) {
	if n == 0 {
		return
	}
	l := &j.losses
	l.mu.Lock()
	if l.n == nil {
		l.n = map[Cause]int{}
	}
	l.n[cause] += n
	l.mu.Unlock()
	j.options.Lost(cause, n)
}

// discard counts queued messages as lost.
func (j *Journal) discard(cause Cause, all ...*row) {
	j.release(all)
	j.lose(cause, len(all))
}

// release subtracts messages from the size of the queue.
func (j *Journal) release(all []*row) {
	for _, r := range all {
		j.queued.Add(-r.size)
	}
}

// reportLost logs the number of lost messages, one line for each cause.
func (j *Journal) reportLost() {
	l := &j.losses
	now := j.options.Now()
	if now.Sub(l.reportedAt) < reportInterval {
		return
	}
	l.mu.Lock()
	all := l.n
	l.n = nil
	l.mu.Unlock()
	for _, cause := range Causes() {
		if all[cause] == 0 {
			continue
		}
		l.reportedAt = now
		args := []any{"cause", cause, "messages", all[cause], "file", j.options.Path}
		if cause == DatabaseFailed && j.failure != nil {
			args = append(args, "error", j.failure)
		}
		j.options.Log.Error("messages are missing from the journal; mail was not affected", args...)
	}
}
