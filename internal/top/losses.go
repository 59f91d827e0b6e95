package top

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const (
	// metricsTimeout limits the request to the daemon, which is on this host.
	metricsTimeout = time.Second
	// maxMetrics limits its answer, in bytes. The daemon's metrics have some 100 KiB.
	maxMetrics = 4 << 20
)

// losses asks the daemon, which alone knows, how many messages the journal lost. silent states that the daemon does not answer.
func losses(ctx context.Context, metrics string) (lost, silent string) {
	if metrics == "" {
		return "not known: metrics.listen is empty", ""
	}
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metrics+"/metrics", nil)
	if err != nil {
		return "not known: " + err.Error(), ""
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "not known", "the daemon does not answer at " + metrics + " (metrics.listen): does it run?"
	}
	defer answer.Body.Close()
	if total, ok := lostTotal(http.MaxBytesReader(nil, answer.Body, maxMetrics)); ok {
		return fmt.Sprintf("%.0f since the daemon began", total), ""
	}
	return "not known: " + metrics + " does not say", ""
}

// lostTotal returns the sum of all causes.
func lostTotal(text io.Reader) (total float64, ok bool) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return 0, false
	}
	for _, m := range families["signpost_journal_lost_total"].GetMetric() {
		total += m.GetCounter().GetValue()
		ok = true
	}
	return total, ok
}
