package lookup

import (
	"context"
	"strings"
	"sync"
	"time"
)

// Tables looks up keys in several tables, one after the other.
type Tables struct {
	Source  Source
	Names   []string
	Timeout time.Duration // for all lookups together
}

// step is the time after which Find starts the next lookup although the last one has no result, so that a database that hangs does not use
// the time of the others.
const step = 250 * time.Millisecond

// Find returns a table that has one of the keys. It looks up the first key in all tables, then the second key. If a lookup fails and no other
// lookup finds a key, Find returns the error of the first failed lookup and its table.
func (t Tables) Find(ctx context.Context, keys []string) (table string, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	var questions []question
	for _, key := range keys {
		for _, name := range t.Names {
			questions = append(questions, question{name, key})
		}
	}
	type result struct {
		n      int // of the question
		answer Answer
		err    error
	}
	results := make(chan result, len(questions))
	lookup := func(n int) {
		answer, err := t.Source.Lookup(ctx, questions[n].table, questions[n].key)
		results <- result{n, answer, err}
	}
	started, failure := 0, result{n: len(questions)}
	for ended := 0; ended < len(questions); {
		if started == ended {
			go lookup(started)
			started++
		}
		var next <-chan time.Time
		if started < len(questions) {
			next = time.After(step)
		}
		select {
		case <-next:
			go lookup(started)
			started++
		case r := <-results:
			ended++
			switch {
			case r.answer.Found:
				return questions[r.n].table, true, nil
			case r.err != nil && r.n < failure.n:
				table, failure = questions[r.n].table, r
			}
		}
	}
	return table, false, failure.err
}

// Servers is a Source that queries signpost tables serve, and other servers for tables of type socketmap.
type Servers struct {
	own *Client

	mu     sync.Mutex
	others map[string]*Client // by table
}

// NewServers returns a Servers. own is a client of signpost tables serve.
func NewServers(own *Client) *Servers { return &Servers{own: own, others: map[string]*Client{}} }

// Lookup implements Source.
func (s *Servers) Lookup(ctx context.Context, table, key string) (Answer, error) {
	if !strings.HasPrefix(table, "socketmap:") {
		return s.own.Lookup(ctx, table, key)
	}
	c, err := s.other(table)
	if err != nil {
		return Answer{}, &Error{Permanent, table, err.Error()}
	}
	return c.Lookup(ctx, table, key)
}

func (s *Servers) other(table string) (*Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.others[table]; c != nil {
		return c, nil
	}
	c, err := ParseSocketmap(table)
	if err == nil {
		s.others[table] = c
	}
	return c, err
}
