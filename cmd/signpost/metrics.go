package main

import (
	"log/slog"
	"net"
	"time"

	"signpost/internal/config"
	"signpost/internal/metrics"
	"signpost/internal/setup"
	"signpost/milter"
)

// startMetrics answers at metrics.listen; nil where that is empty.
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

// watchMetrics shows the server's connections and the keys at each scrape, as the configuration in effect has them.
func (d *service) watchMetrics(server *milter.Server) {
	d.measures.Watch(metrics.Source{Connections: server.Connections, Keys: func() metrics.Keys {
		g := d.now.Load()
		return metrics.Keys{Snapshot: g.watcher.Current(), Readable: g.watcher.Fault() == "", Wrong: g.guard.Wrong(), Rules: setup.KeyRules(g.conf), Now: time.Now()}
	}})
}

func sockets(listeners []net.Listener) (all []net.Addr) {
	for _, ln := range listeners {
		all = append(all, ln.Addr())
	}
	return all
}
