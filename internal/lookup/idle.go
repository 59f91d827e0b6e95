package lookup

import (
	"container/list"
	"net"
	"sync"
)

// idleClients has the connections of a server that wait for a request, or for the rest of one.
type idleClients struct {
	mu    sync.Mutex
	order *list.List // of net.Conn; the one that is idle for the longest time is first
	where map[net.Conn]*list.Element
}

func newIdleClients() *idleClients {
	return &idleClients{order: list.New(), where: map[net.Conn]*list.Element{}}
}

func (i *idleClients) add(c net.Conn) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.where[c] = i.order.PushBack(c)
}

// remove reports whether the connection was idle. It returns false if closeOldest closed it.
func (i *idleClients) remove(c net.Conn) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	e := i.where[c]
	if e == nil {
		return false
	}
	i.order.Remove(e)
	delete(i.where, c)
	return true
}

// closeOldest closes the connection that is idle for the longest time. It returns false if no connection is idle.
func (i *idleClients) closeOldest() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	e := i.order.Front()
	if e == nil {
		return false
	}
	c := i.order.Remove(e).(net.Conn)
	delete(i.where, c)
	c.Close()
	return true
}
