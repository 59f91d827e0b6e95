package web

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"signpost/internal/doctor"
)

const (
	// doctorTimeout limits a run of doctor. A single domain may take a minute.
	doctorTimeout = 3 * time.Minute
	// doctorAge is the age of the findings from which a request of the start page runs doctor again.
	doctorAge = 24 * time.Hour
)

// examined is the result of a run of doctor.
type examined struct {
	Findings []doctor.Finding // the red and yellow findings, arranged
	Green    []doctor.Finding // arranged
	Count    string
}

// newExamined divides the findings into those that need action and those that do not (green).
func newExamined(all []doctor.Finding) (e examined) {
	e.Count = doctor.Count(all)
	for _, found := range doctor.Arrange(all) {
		if found.Level == doctor.Green {
			e.Green = append(e.Green, found)
		} else {
			e.Findings = append(e.Findings, found)
		}
	}
	return e
}

type findings struct {
	view
	lastRun[examined]
	Limit string
}

// findings shows the result of the last run. It does not start a run, because a browser may prefetch the page.
func (s *site) findings(*http.Request) shown {
	m := &findings{view: view{Title: "Doctor"}, lastRun: s.doctor.last(), Limit: fmt.Sprintf("%.0f minutes", doctorTimeout.Minutes())}
	if m.Running {
		m.refresh = "3"
	}
	if m.Err != nil {
		m.wrong(0, m.Err.Error())
	}
	return m
}

// look starts doctor unless it is running, and redirects to the page.
func (s *site) look(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		s.examine(0)
	}
	http.Redirect(w, r, "/doctor", http.StatusSeeOther)
}

// examine starts doctor unless it is running, or its findings are younger than maxAge.
func (s *site) examine(maxAge time.Duration) {
	s.doctor.start(s.Now, maxAge, func() (examined, error) {
		ctx, cancel := context.WithTimeout(context.Background(), doctorTimeout)
		defer cancel()
		all, err := s.Doctor(ctx)
		return newExamined(all), err
	})
}
