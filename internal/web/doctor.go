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

// examination is the state of the current run of doctor, and the result of the previous one.
type examination struct {
	mu           sync.Mutex
	running      bool
	began, ended time.Time // ended is zero until the first run has ended
	findings     []doctor.Finding
	err          error
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
	d := &s.doctor
	d.mu.Lock()
	defer d.mu.Unlock()
	m := &findings{view: view{Title: "Doctor"}, Running: d.running, Began: d.began, Ended: d.ended,
		Limit: fmt.Sprintf("%.0f minutes", doctorTimeout.Minutes())}
	m.sort(d.findings)
	if d.running {
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
		s.examine()
	}
	http.Redirect(w, r, "/doctor", http.StatusSeeOther)
}

func (s *site) examine() {
	d := &s.doctor
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running {
		return
	}
	d.running, d.began = true, s.Now()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), doctorTimeout)
		defer cancel()
		var all []doctor.Finding
		err := fmt.Errorf("internal error in doctor; run signpost doctor to see it")
		defer func() { // a panic of a check must not end the process
			_ = recover()
			d.mu.Lock()
			defer d.mu.Unlock()
			d.running, d.ended, d.findings, d.err = false, s.Now(), all, err
		}()
		all, err = s.Doctor(ctx)
	}()
}
