package dns

import (
	"container/list"
	"time"
)

// maxCache bounds the bytes of the cached answers. An answer takes some 500: a day's correspondents of a busy server. With a cache
// that is full of the largest answers the daemon stays within 64 MiB.
const maxCache = 12 << 20

// cache holds answers while they are valid. The least recently used ones are removed first.
type cache struct {
	entries map[question]*list.Element
	order   *list.List // of *entry, most recently used in front
	size    int
	max     int
}

type entry struct {
	question question
	answer   *answer
	expires  time.Time
	size     int
}

func newCache() cache {
	return cache{entries: map[question]*list.Element{}, order: list.New(), max: maxCache}
}

// get returns nil if there is no valid answer.
func (c *cache) get(q question, now time.Time) *answer {
	at, ok := c.entries[q]
	if !ok {
		return nil
	}
	e := at.Value.(*entry)
	if !now.Before(e.expires) {
		c.remove(at)
		return nil
	}
	c.order.MoveToFront(at)
	return e.answer
}

func (c *cache) put(q question, a *answer, now time.Time) {
	if at, ok := c.entries[q]; ok {
		c.remove(at)
	}
	e := &entry{question: q, answer: a, expires: now.Add(a.ttl), size: len(q.name) + a.octets()}
	c.entries[q] = c.order.PushFront(e)
	c.size += e.size
	for c.size > c.max {
		c.remove(c.order.Back())
	}
}

func (c *cache) remove(at *list.Element) {
	e := c.order.Remove(at).(*entry)
	delete(c.entries, e.question)
	c.size -= e.size
}
