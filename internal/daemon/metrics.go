package daemon

import (
	"log/slog"
	"time"

	"signpost/internal/config"
	"signpost/internal/metrics"
	"signpost/internal/setup"
)

// startMetrics serves the metrics at metrics.listen. It returns nil if that is empty.
func startMetrics(conf *config.Config, m *metrics.Metrics, log *slog.Logger) (*metrics.Server, error) {
	if conf.MetricsListen == "" {
		return nil, nil
	}
	if conf.MetricsOpen() {
		log.Warn(setup.OpenMetrics)
	}
	s, err := metrics.Listen(conf.MetricsListen, m, log)
	if err != nil {
		return nil, err
	}
	log.Info("metrics are served", "listen", s.Addr().String())
	return s, nil
}

// watchMetrics registers the sources that each scrape reads: the connections, and the keys of the current generation.
func (d *service) watchMetrics() {
	d.metrics.Watch(metrics.Source{Connections: d.server.Connections, Keys: func() metrics.Keys {
		g := d.now.Load()
		return metrics.Keys{Snapshot: g.watcher.Current(), Readable: g.watcher.Fault() == "", Wrong: g.guard.Wrong(), Rules: setup.KeyRules(g.conf), Now: time.Now()}
	}})
}
