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

// Find returns the first table that has one of the keys. It looks up the first key in all tables, then the second key. If a lookup fails and
// no other lookup finds a key, Find returns the error of the first failed lookup and its table.
func (t Tables) Find(ctx context.Context, keys []string) (table string, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	var failure error
	for _, key := range keys {
		for _, name := range t.Names {
			answer, err := t.Source.Lookup(ctx, name, key)
			switch {
			case err != nil && failure == nil:
				table, failure = name, err
			case answer.Found:
				return name, true, nil
			}
		}
	}
	return table, false, failure
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
