package filter

import (
	"fmt"
	"log/slog"
	"runtime/debug"

	"signpost/internal/dns"
)

// task is work that goes on beside a message. It ends by itself, since the context that it was given does.
type task[T any] struct {
	done  chan struct{} // nil: from the start
	value T
	panic any
}

// asker is the view of a part of a message, which may change between its look-ups.
type asker struct{ *dns.View }

// ask runs f with what is known already, which costs no goroutine; where that does not suffice it begins anew beside the
// message, and asks. What f keeps of the asker asks from then on in both cases.
func ask[T any](log *slog.Logger, what string, v *dns.View, f func(*asker) T) *task[T] {
	a := &asker{v.Known()}
	if value := f(a); !a.Missed() {
		a.View = v
		return &task[T]{value: value}
	}
	return begin(log, what, func() T { return f(&asker{v}) })
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

// ended reports whether wait returns at once.
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

// wait gives the result, or goes on with the panic.
func (t *task[T]) wait() T {
	if t.done != nil {
		<-t.done
	}
	if t.panic != nil {
		panic(fmt.Sprint("in a task: ", t.panic))
	}
	return t.value
}
