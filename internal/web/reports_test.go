package web

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"signpost/internal/report"
)

// The page lists the deliveries and the suppressed addresses. Texts of other servers are escaped.
func TestReports(t *testing.T) {
	s := newSite(t)
	page := get(t, s.Handler(), "/reports").Body.String()
	for _, want := range []string{"example.com", "given_up", "550 &lt;script&gt;", "dmarc@example.net", "reports bounced: 5.1.1", "signpost reports suppress"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	s.Reports = func(context.Context) (Reports, error) { return Reports{}, fmt.Errorf("x: %w", report.ErrNoState) }
	if w := get(t, s.Handler(), "/reports"); w.Code != 200 || !strings.Contains(w.Body.String(), "No DMARC report was sent yet") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	s.Reports = func(context.Context) (Reports, error) { return Reports{}, errors.New("permission denied") }
	if w := get(t, s.Handler(), "/reports"); w.Code != 503 || !strings.Contains(w.Body.String(), "permission denied") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
