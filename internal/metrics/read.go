package metrics

import (
	"context"
	"fmt"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// maxScrape limits the response to Read, in bytes. The daemon's metrics have about 100 KiB.
const maxScrape = 1 << 20

// The metrics about losses of the journal.
const (
	LostTotal = "signpost_journal_lost_total"
	LostTime  = "signpost_journal_lost_timestamp_seconds"
)

// Values are the metrics of a running daemon.
type Values map[string]*dto.MetricFamily

// Read reads the metrics of the daemon at address, the value of metrics.listen. It returns an error if the daemon does not answer. If the
// response is not a text of metrics, or is too long, the Values are empty.
func Read(ctx context.Context, address string) (Values, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("metrics.listen: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("the daemon does not answer at %s (metrics.listen): %w", address, err)
	}
	defer answer.Body.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(http.MaxBytesReader(nil, answer.Body, maxScrape))
	if err != nil {
		families = nil
	}
	return families, nil
}

// Sum returns the sum of a counter or gauge over all labels. ok is false if there is no such metric.
func (v Values) Sum(name string) (sum float64, ok bool) {
	for _, m := range v[name].GetMetric() {
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		ok = true
	}
	return sum, ok
}
