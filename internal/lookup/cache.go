package lookup

import (
	"cmp"
	"container/list"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// CacheOptions are the settings of a Cache.
type CacheOptions struct {
	Positive, Negative time.Duration // how long an answer is used without another lookup; default: one minute
	Timeout            time.Duration // of a lookup by the source; default: 2 s
	Log                *slog.Logger
	Now                func() time.Time // default: time.Now
	Observe            func(Outcome)    // if not nil, called for each lookup
}

// Outcome is the outcome of a lookup in a Cache.
type Outcome string

// The outcomes.
const (
	Cached   Outcome = "cached"   // the known answer was recent
	Answered Outcome = "answered" // by the source
	Old      Outcome = "old"      // the known answer was old, and the source failed or was slow
	Failed   Outcome = "failed"   // no answer was known, and the source failed or was slow
)

// Outcomes returns all outcomes.
func Outcomes() []Outcome { return []Outcome{Cached, Answered, Old, Failed} }

const (
	defaultTTL     = time.Minute
	defaultTimeout = 2 * time.Second
	// oldWait limits the wait for the source if there is an old answer.
	oldWait = 250 * time.Millisecond
	// retryInterval is the time after a failed lookup during which old answers of the table are returned without another lookup.
	retryInterval = 5 * time.Second
	// logInterval is the minimum time between two log lines about outages of the same table.
	logInterval = time.Minute
	// maxLookups limits the number of concurrent lookups. Each may be a process.
	maxLookups = 32
	// tableLookups limits those of one table, so that three tables whose databases hang leave slots for the others.
	tableLookups = 8
	// maxOutages limits the tables whose last lookup failed.
	maxOutages = 1000
	// maxAnswers and maxBytes limit the answers in the cache. The least recently used ones are removed first.
	maxAnswers = 100_000
	maxBytes   = 32 << 20
)

// Cache keeps the answers of a source. It returns an old answer, negative ones included, if the source fails or is slow.
type Cache struct {
	source  Source
	options CacheOptions
	flights singleflight.Group
	slots   chan struct{}
	timeout atomic.Int64 // of a lookup by the source: a time.Duration

	mu      sync.Mutex
	lanes   map[string]*lane           // by table
	answers map[question]*list.Element // of recent
	recent  *list.List                 // of *kept; the most recently used one is first
	bytes   int
	outages map[string]*outage // by table
	changed bool               // since the last save
}

type question struct{ table, key string }

// kept is an answer in the cache.
type kept struct {
	question
	Answer
	at time.Time // of the lookup
}

func (k *kept) size() int { return len(k.table) + len(k.key) + len(k.Value) }

// lane has the slots of one table while lookups run or wait.
type lane struct {
	slots chan struct{}
	users int
}

// outage describes a table whose last lookup failed.
type outage struct {
	since, retry, logged time.Time
	over                 bool
}

// NewCache returns a Cache for source.
func NewCache(source Source, o CacheOptions) *Cache {
	o.Positive, o.Negative = cmp.Or(o.Positive, defaultTTL), cmp.Or(o.Negative, defaultTTL)
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Cache{source: source, options: o, slots: make(chan struct{}, maxLookups), lanes: map[string]*lane{}, answers: map[question]*list.Element{},
		recent: list.New(), outages: map[string]*outage{}}
	c.SetTimeout(o.Timeout)
	return c
}

// SetTimeout changes the timeout of a lookup by the source.
func (c *Cache) SetTimeout(d time.Duration) { c.timeout.Store(int64(d)) }

// Lookup implements Source. It returns an error only if there is no answer, not even an old one.
func (c *Cache) Lookup(ctx context.Context, table, key string) (Answer, error) {
	if _, err := check(table, key); err != nil {
		return Answer{}, err
	}
	answer, outcome, err := c.lookup(ctx, question{table, key})
	if c.options.Observe != nil {
		c.options.Observe(outcome)
	}
	return answer, err
}

func (c *Cache) lookup(ctx context.Context, q question) (Answer, Outcome, error) {
	old, use := c.known(q)
	if use != "" {
		return old.Answer, use, nil
	}
	wait := ctx
	if old != nil {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, oldWait)
		defer cancel()
	}
	result := c.flights.DoChan(q.table+"\x00"+q.key, func() (any, error) { return c.ask(q) })
	var err error
	select {
	case r := <-result:
		if r.Err == nil {
			return r.Val.(Answer), Answered, nil
		}
		err = r.Err
	case <-wait.Done(): // the lookup continues, and its answer will be used next time
		err = wait.Err()
	}
	if old != nil {
		return old.Answer, Old, nil
	}
	return Answer{}, Failed, failed(q.table, err)
}

// known returns the kept answer to q, or nil. use is not empty if the caller must use it without another lookup.
func (c *Cache) known(q question) (k *kept, use Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.answers[q]
	if e == nil {
		return nil, ""
	}
	c.recent.MoveToFront(e)
	k = e.Value.(*kept)
	ttl := c.options.Negative
	if k.Found {
		ttl = c.options.Positive
	}
	now := c.options.Now()
	// If the clock was set back, the age is negative.
	if age := now.Sub(k.at); age >= 0 && age < ttl {
		return k, Cached
	}
	if o := c.outages[q.table]; o != nil && !o.over && now.Before(o.retry) {
		return k, Old
	}
	return k, ""
}

// ask looks up q in the source, and keeps the answer.
func (c *Cache) ask(q question) (Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(c.timeout.Load())) // independent of the callers, which may stop waiting
	defer cancel()
	leave, ok := c.enter(ctx, q.table)
	if !ok {
		return Answer{}, &Error{Timeout, q.table, "timeout: too many lookups are waiting"}
	}
	answer, err := c.source.Lookup(ctx, q.table, q.key)
	leave()
	if err != nil {
		e := failed(q.table, err)
		c.fail(e)
		return Answer{}, e
	}
	c.mu.Lock()
	c.keep(&kept{q, answer, c.options.Now()})
	c.mu.Unlock()
	c.recover(q.table)
	return answer, nil
}

// enter waits for a slot of the table and for one of all slots. If ctx ends first, ok is false. The caller must call leave after the lookup.
func (c *Cache) enter(ctx context.Context, table string) (leave func(), ok bool) {
	c.mu.Lock()
	l := c.lanes[table]
	if l == nil {
		l = &lane{slots: make(chan struct{}, tableLookups)}
		c.lanes[table] = l
	}
	l.users++
	c.mu.Unlock()
	done := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(c.lanes, table)
		}
	}
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		done()
		return nil, false
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		<-l.slots
		done()
		return nil, false
	}
	return func() {
		<-c.slots
		<-l.slots
		done()
	}, true
}

// keep stores an answer, and removes the least recently used ones if the limits are exceeded. The caller holds c.mu.
func (c *Cache) keep(k *kept) {
	c.changed = true
	if e := c.answers[k.question]; e != nil {
		c.bytes += k.size() - e.Value.(*kept).size()
		e.Value = k
		c.recent.MoveToFront(e)
	} else {
		c.bytes += k.size()
		c.answers[k.question] = c.recent.PushFront(k)
	}
	for c.recent.Len() > maxAnswers || c.bytes > maxBytes {
		last := c.recent.Remove(c.recent.Back()).(*kept)
		delete(c.answers, last.question)
		c.bytes -= last.size()
	}
}

// fail records that a lookup failed, and logs the first failure of an outage.
func (c *Cache) fail(e *Error) {
	if c.failedNow(e) {
		c.options.Log.Error("table lookups fail, known answers are used", "table", e.Table, "error", e.Reason)
	}
}

// failedNow records that a lookup failed, and reports whether the failure must be logged. Log lines are written without c.mu, because a slow
// log would delay all lookups.
func (c *Cache) failedNow(e *Error) (log bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.options.Now()
	o := c.outages[e.Table]
	if o == nil {
		if len(c.outages) == maxOutages { // a client of the server names tables that do not exist
			clear(c.outages)
		}
		o = &outage{over: true}
		c.outages[e.Table] = o
	}
	if e.Kind != Permanent { // such an error may be about one key
		o.retry = now.Add(retryInterval)
	}
	if !o.over {
		return false
	}
	o.over, o.since = false, now
	if now.Sub(o.logged) < logInterval {
		return false
	}
	o.logged = now
	return true
}

// recover records that a lookup succeeded, and logs the end of an outage whose beginning was logged.
func (c *Cache) recover(table string) {
	c.mu.Lock()
	o, now := c.outages[table], c.options.Now()
	over := o != nil && !o.over
	log := over && o.logged.Equal(o.since)
	var since time.Time
	if over {
		o.over, since = true, o.since
	}
	c.mu.Unlock()
	if log {
		c.options.Log.Info("table lookups succeed again", "table", table, "seconds", int(now.Sub(since).Seconds()))
	}
}
