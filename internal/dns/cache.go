package dns

import (
	"container/list"
	"time"
)

// maxCache limits the cached answers, in bytes. An answer has about 500 bytes, so the cache has room for all answers of a day on a busy
// server. Even if it is full of the largest answers, the daemon uses less than 64 MiB.
const maxCache = 12 << 20

// cache keeps values until they expire, up to max bytes. It removes the least recently used values first. Resolver.mu guards it.
type cache[K comparable, V any] struct {
	entries map[K]*list.Element
	order   *list.List // of *entry[K, V], the most recently used first
	size    int
	max     int
}

type entry[K comparable, V any] struct {
	key     K
	value   V
	expires time.Time
	size    int
}

func newCache[K comparable, V any](max int) cache[K, V] {
	return cache[K, V]{entries: map[K]*list.Element{}, order: list.New(), max: max}
}

// get returns the value of a key, or the zero value if there is none or it has expired.
func (c *cache[K, V]) get(key K, now time.Time) (value V) {
	at := c.entries[key]
	if at == nil {
		return value
	}
	e := at.Value.(*entry[K, V])
	if !now.Before(e.expires) {
		c.remove(key)
		return value
	}
	c.order.MoveToFront(at)
	return e.value
}

// put adds or replaces a value. It returns the element of the value in order. MoveToFront of that element marks the value as used.
func (c *cache[K, V]) put(key K, value V, expires time.Time, size int) *list.Element {
	c.remove(key)
	at := c.order.PushFront(&entry[K, V]{key, value, expires, size})
	c.entries[key] = at
	c.size += size
	for c.size > c.max {
		c.remove(c.order.Back().Value.(*entry[K, V]).key)
	}
	return at
}

func (c *cache[K, V]) remove(key K) {
	if at := c.entries[key]; at != nil {
		delete(c.entries, key)
		c.size -= c.order.Remove(at).(*entry[K, V]).size
	}
}
