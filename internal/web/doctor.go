package web

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"signpost/internal/doctor"
)

// doctorTime is how long doctor may look. A single domain may take a minute.
const doctorTime = 3 * time.Minute

// examination is doctor's last look, and the one under way.
type examination struct {
	mu           sync.Mutex
	running      bool
	began, ended time.Time // ended: zero where there was no look yet
	findings     []doctor.Finding
	err          error
}

type findings struct {
	view
	Running      bool
	Began, Ended time.Time
	Findings     []doctor.Finding // what is red, and then what is yellow
	Green        []doctor.Finding
	Limit        string
}

// sort puts first what is to be mended.
func (f *findings) sort(all []doctor.Finding) {
	for _, level := range []doctor.Level{doctor.Red, doctor.Yellow, doctor.Green} {
		for _, found := range all {
			switch {
			case found.Level != level:
			case level == doctor.Green:
				f.Green = append(f.Green, found)
			default:
				f.Findings = append(f.Findings, found)
			}
		}
	}
}

// findings shows the last look, and starts none: a browser may load a page ahead of its reader.
func (s *site) findings(*http.Request) (string, shown) {
	d := &s.doctor
	d.mu.Lock()
	defer d.mu.Unlock()
	m := &findings{view: view{Title: "Doctor"}, Running: d.running, Began: d.began, Ended: d.ended,
		Limit: fmt.Sprintf("%.0f minutes", doctorTime.Minutes())}
	m.sort(d.findings)
	if d.running {
		m.refresh = "3"
	}
	if d.err != nil {
		m.wrong(0, d.err.Error())
	}
	return "doctor", m
}

// look has doctor look, unless he does already, and leads back to the page.
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
		ctx, cancel := context.WithTimeout(context.Background(), doctorTime)
		defer cancel()
		var all []doctor.Finding
		err := fmt.Errorf("doctor failed in a way that he should not; signpost doctor may say how")
		defer func() { // a defect of one check ends no page
			_ = recover()
			d.mu.Lock()
			defer d.mu.Unlock()
			d.running, d.ended, d.findings, d.err = false, s.Now(), all, err
		}()
		all, err = s.Doctor(ctx)
	}()
}
