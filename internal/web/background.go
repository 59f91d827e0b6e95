package web

import (
	"context"
	"errors"
	"sync"
	"time"
)

// background runs a function that may be slow, never twice at the same time, and keeps its last result. So a page is never slower than it wants
// to be, and requests cannot pile up behind a file system that does not answer.
type background[T any] struct {
	mu     sync.Mutex
	done   chan struct{} // closed when the run ends; nil: no run
	result lastRun[T]
}

// lastRun is the last result of a background.
type lastRun[T any] struct {
	Running      bool
	Began, Ended time.Time // Ended is zero until the first run has ended
	Took         time.Duration
	Value        T
	Err          error
}

// Known reports whether there is a result.
func (r lastRun[T]) Known() bool { return !r.Ended.IsZero() }

// start starts run unless it is running, or its last result is younger than maxAge.
func (l *background[T]) start(now func() time.Time, maxAge time.Duration, run func() (T, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done != nil || l.result.Known() && now().Sub(l.result.Ended) < maxAge {
		return
	}
	done := make(chan struct{})
	l.done, l.result.Began = done, now()
	begun := time.Now()
	go func() {
		var value T
		err := errors.New("internal error; the command on the terminal shows it")
		defer func() { // a panic must not end the process
			_ = recover()
			l.mu.Lock()
			defer l.mu.Unlock()
			l.result.Ended, l.result.Took, l.result.Value, l.result.Err = now(), time.Since(begun), value, err
			l.done = nil
			close(done)
		}()
		value, err = run()
	}()
}

// get returns the last result. While run is running, it first waits until run or ctx ends.
func (l *background[T]) get(ctx context.Context) lastRun[T] {
	l.mu.Lock()
	done := l.done
	l.mu.Unlock()
	if done != nil {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	return l.last()
}

// last returns the last result.
func (l *background[T]) last() lastRun[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.result
	r.Running = l.done != nil
	return r
}
