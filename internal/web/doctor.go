package web

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"signpost/internal/doctor"
)

// doctorTimeout limits a run of doctor. A single domain may take a minute.
const doctorTimeout = 3 * time.Minute

// background is the state of the current run of a slow function, and the result of the previous one.
type background[T any] struct {
	mu           sync.Mutex
	running      bool
	began, ended time.Time // ended is zero until the first run has ended
	result       T
	err          error
}

// start starts the function work unless it is running.
func (b *background[T]) start(now func() time.Time, limit time.Duration, work func(context.Context) (T, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running {
		return
	}
	b.running, b.began = true, now()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		var result T
		err := fmt.Errorf("internal error; run the command to see it")
		defer func() { // a panic of a check must not end the process
			_ = recover()
			b.mu.Lock()
			defer b.mu.Unlock()
			b.running, b.ended, b.result, b.err = false, now(), result, err
		}()
		result, err = work(ctx)
	}()
}

// last is the state of a background at one moment.
type last[T any] struct {
	Running      bool
	Began, Ended time.Time
	Result       T
	err          error
}

func (b *background[T]) last() last[T] {
	b.mu.Lock()
	defer b.mu.Unlock()
	return last[T]{b.running, b.began, b.ended, b.result, b.err}
}

type findings struct {
	view
	Running      bool
	Began, Ended time.Time
	Findings     []doctor.Finding // the red and yellow findings
	Count        string
	Green        []doctor.Finding
	Limit        string
}

// sort divides the findings into those that need action and those that do not (green).
func (f *findings) sort(all []doctor.Finding) {
	f.Count = doctor.Count(all)
	for _, found := range doctor.Arrange(all) {
		if found.Level == doctor.Green {
			f.Green = append(f.Green, found)
		} else {
			f.Findings = append(f.Findings, found)
		}
	}
}

// findings shows the result of the last run. It does not start a run, because a browser may prefetch the page.
func (s *site) findings(*http.Request) shown {
	d := s.doctor.last()
	m := &findings{view: view{Title: "Doctor"}, Running: d.Running, Began: d.Began, Ended: d.Ended,
		Limit: fmt.Sprintf("%.0f minutes", doctorTimeout.Minutes())}
	m.sort(d.Result)
	if d.Running {
		m.refresh = "3"
	}
	if d.err != nil {
		m.wrong(0, d.err.Error())
	}
	return m
}

// look starts doctor unless it is running, and redirects to the page.
func (s *site) look(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		s.doctor.start(s.Now, doctorTimeout, s.Doctor)
	}
	http.Redirect(w, r, "/doctor", http.StatusSeeOther)
}
