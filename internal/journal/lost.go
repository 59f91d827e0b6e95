package journal

import (
	"sync"
	"time"
)

// Cause is why the journal could not keep a message.
type Cause string

// The causes.
const (
	QueueFull      Cause = "queue_full"      // too many messages waited: the disk or the processor is too slow for the mail
	QueueBytes     Cause = "queue_bytes"     // the messages that waited held too many bytes
	DatabaseFailed Cause = "database_failed" // the database could not be opened or written
	NotEncodable   Cause = "not_encodable"   // a defect of ours
	ShutDown       Cause = "shutdown"        // the time to write what was queued was over
)

// Causes returns all causes.
func Causes() []Cause {
	return []Cause{QueueFull, QueueBytes, DatabaseFailed, NotEncodable, ShutDown}
}

// reportInterval is the least time between two reports of lost messages, which a full disk causes by the thousand.
const reportInterval = time.Minute

// losses are the messages that were lost and not reported yet, by cause.
type losses struct {
	mu         sync.Mutex
	n          map[Cause]int
	reportedAt time.Time // only the writer's goroutine uses it
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

// discard loses messages that were queued.
func (j *Journal) discard(cause Cause, all ...*row) {
	j.release(all)
	j.lose(cause, len(all))
}

// release stops counting messages that were queued.
func (j *Journal) release(all []*row) {
	for _, r := range all {
		j.queued.Add(-r.bytes())
	}
}

// reportLost logs how many messages were lost, a line for each cause.
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
