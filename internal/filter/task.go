package filter

import (
	"fmt"
	"log/slog"
	"runtime/debug"

	"signpost/internal/dns"
)

// task is work that a goroutine does for a message. It ends when its context ends.
type task[T any] struct {
	done  chan struct{} // nil: the task has ended
	value T
	panic any
}

// asker is the view that a task uses. It may be replaced between two lookups.
type asker struct{ *dns.View }

// ask runs f with cached answers only, which needs no goroutine. If f needs more, ask runs it again in a goroutine, with lookups. In both
// cases, f may keep its asker. After ask returns, the asker makes lookups.
func ask[T any](log *slog.Logger, what string, v *dns.View, f func(*asker) T) *task[T] {
	a := &asker{v.Known()}
	if value := f(a); !a.Missed() {
		a.View = v
		return &task[T]{value: value}
	}
	return begin(log, what, func() T { return f(&asker{v}) })
}

// begin starts f in a goroutine. All goroutines of a message start here, so that a panic affects only that message. The client then
// retries it.
func begin[T any](log *slog.Logger, what string, f func() T) *task[T] {
	t := &task[T]{done: make(chan struct{})}
	go func() {
		defer close(t.done)
		defer func() {
			if t.panic = recover(); t.panic != nil {
				log.Error("internal error", "event", what, "panic", t.panic, "stack", string(debug.Stack()))
			}
		}()
		t.value = f()
	}()
	return t
}

// ended reports whether wait would return at once.
func (t *task[T]) ended() bool {
	if t.done == nil {
		return true
	}
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// wait returns the result, or panics if f panicked.
func (t *task[T]) wait() T {
	if t.done != nil {
		<-t.done
	}
	if t.panic != nil {
		panic(fmt.Sprint("in a task: ", t.panic))
	}
	return t.value
}
