package web

import (
	"errors"
	"net/http"

	"signpost/internal/report"
)

// Reports are the DMARC reports to other domains.
type Reports struct {
	Deliveries []report.Delivery // newest first
	Suppressed []report.Suppression
}

// maxDeliveries is the maximum number of deliveries on the page.
const maxDeliveries = 500

type reportList struct {
	view
	Reports
	None bool // no report was made yet
	More int  // deliveries that are not on the page
}

func (s *site) reports(r *http.Request) shown {
	m := &reportList{view: view{Title: "Reports sent"}}
	found, err := s.Reports(r.Context())
	switch {
	case errors.Is(err, report.ErrNoState):
		m.None = true
	case err != nil:
		m.wrong(http.StatusServiceUnavailable, err.Error())
	}
	m.Reports = found
	if m.More = max(0, len(found.Deliveries)-maxDeliveries); m.More > 0 {
		m.Deliveries = found.Deliveries[:maxDeliveries]
	}
	return m
}
