package filter

import (
	"fmt"
	"log/slog"
	"runtime/debug"
)

// task is work that goes on beside a message. It ends by itself, since the context that it was given does.
type task[T any] struct {
	done  chan struct{}
	value T
	panic any
}

// begin starts f. Every goroutine of a message starts here: a defect in one breaks its message, which is then tried
// again, and nothing else.
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

// wait gives the result, or goes on with the panic.
func (t *task[T]) wait() T {
	<-t.done
	if t.panic != nil {
		panic(fmt.Sprint("in a task: ", t.panic))
	}
	return t.value
}
