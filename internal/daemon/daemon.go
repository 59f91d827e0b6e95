// Package daemon is signpost serve: it listens for Postfix, filters messages, reloads the configuration and the keys, confines the
// process, notifies the service manager, and drains.
package daemon

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"signpost/internal/config"
	"signpost/internal/journal"
	"signpost/internal/metrics"
	"signpost/internal/setup"
	"signpost/milter"
)

// Options are the arguments of Run.
type Options struct {
	Config  *config.Config
	File    string // of Config, which SIGHUP reads again; empty: SIGHUP reloads only the keys
	Stderr  io.Writer
	Version string // which the metrics show
	// Confine makes the process drop the access to files that the daemon does not need, until the process ends.
	Confine bool
}

// Run runs the daemon until ctx ends or a socket fails, and drains it.
func Run(ctx context.Context, o Options) error { return (&service{Options: o}).run(ctx) }

// service is one run of the daemon.
type service struct {
	Options
	reloaded func(ok bool) // called after each reload, if set

	notifySocket string // of the service manager, as it was at the start; empty: there is none
	log          *slog.Logger
	limits       limits
	metrics      *metrics.Metrics
	level        slog.LevelVar
	listeners    []net.Listener
	server       *milter.Server
	confined     bool
	journal      *journal.Journal // nil: disabled
	messages     atomic.Int64     // since the start
	now          atomic.Pointer[generation]
}

func (d *service) run(ctx context.Context) error {
	// Before anything else: a SIGHUP that is not handled would end the daemon.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	d.notifySocket = os.Getenv("NOTIFY_SOCKET")

	conf := d.Config
	log, err := setup.Logger(conf.Log, &d.level, d.Stderr)
	if err != nil {
		return err
	}
	d.log = log
	d.limits = readLimits(log)
	d.metrics = metrics.New(conf.Observe, d.Version)
	health, err := startMetrics(conf, d.metrics, log)
	if err != nil {
		return err
	}
	if health != nil {
		defer health.Close()
	}
	d.warn(conf)
	if conf.Journal.Enabled {
		d.journal = openJournal(conf, d.metrics, log)
		defer d.journal.Close() // after the drain
	}
	first, err := d.build(conf, nil)
	if err != nil {
		return err
	}
	d.now.Store(first)
	if d.listeners, err = listen(ctx, conf); err != nil {
		return err
	}
	d.server = milter.NewServer(milter.Options{Begin: d.begin, Broken: d.broken, Log: log, Panicked: d.metrics.Panicked, Connections: d.limits.connections})
	d.watchMetrics()
	if d.Confine {
		d.confine()
	}

	serving, stop := context.WithCancel(ctx)
	defer stop()
	var background sync.WaitGroup
	if os.Getenv("GOGC") == "" {
		background.Go(func() { tuneCollection(serving) })
	}
	background.Go(func() { d.runGenerations(serving, hangup) })
	failed := make(chan error, len(d.listeners))
	for _, ln := range d.listeners {
		background.Go(func() { failed <- d.server.Serve(serving, ln) })
	}
	sockets, names := addresses(d.listeners)
	if health != nil {
		health.Ready(sockets)
	}
	log.Info("signpost started", "listen", names, "mode", mode(conf), "hosted_domains", len(first.watcher.Current().Hosted))
	d.notify("READY=1\n" + d.status())
	if interval := watchdogInterval(); interval > 0 {
		background.Go(func() { d.watchdog(serving, interval) })
	}

	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	if health != nil {
		health.Draining()
	}
	d.notify("STOPPING=1")
	stop()
	background.Wait()
	log.Info("signpost is stopping: messages in progress are completed first")
	draining, cancel := context.WithTimeout(context.Background(), milter.DrainTimeout)
	defer cancel()
	d.server.Drain(draining)
	return err
}

// begin and broken use the current generation. A message keeps the generation that it began with.
func (d *service) begin(ctx context.Context, s milter.Session, e milter.Envelope) milter.Message {
	m := d.now.Load().filter.Begin(ctx, s, e)
	d.messages.Add(1)
	return m
}

func (d *service) broken(s milter.Session, e milter.Envelope) milter.Reply {
	return d.now.Load().filter.Broken(s, e)
}

// warn logs expired entries, and that nothing acts on the tag of quarantined mail. It runs at the start and at each reload, which
// may turn observe mode off.
func (d *service) warn(conf *config.Config) {
	if conf.TagUnhandled() {
		d.log.Warn("dmarc.quarantine_handled is false: without a filter that acts on X-Signpost-Disposition, quarantined forgeries reach the inbox",
			"hint", "install junk.sieve or milter_header_checks, then set it to true: see quarantine_handled in signpost.toml(5)")
	}
	for _, entry := range setup.Expired(conf, time.Now()) {
		d.log.Warn("an exception has expired and is ignored", "entry", entry)
	}
}

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
	log.Info("metrics server started", "listen", s.Addr().String())
	return s, nil
}

// watchMetrics registers the sources that each scrape reads: the connections, and the keys of the current generation.
func (d *service) watchMetrics() {
	d.metrics.Watch(metrics.Source{Connections: d.server.Connections, Keys: func() metrics.Keys {
		g := d.now.Load()
		return metrics.Keys{Snapshot: g.watcher.Current(), Readable: g.watcher.Fault() == "", Wrong: g.guard.Wrong(), Rules: setup.KeyRules(g.conf), Now: time.Now()}
	}})
}

func openJournal(conf *config.Config, m *metrics.Metrics, log *slog.Logger) *journal.Journal {
	lost := func(cause journal.Cause, n int) { m.JournalLost(string(cause), n) }
	for _, cause := range journal.Causes() {
		lost(cause, 0) // so that the first loss is an increase
	}
	return journal.Open(journal.Options{Path: conf.JournalFile(), Limits: JournalLimits(conf), Now: time.Now, Log: log, Lost: lost})
}

// JournalLimits returns the limits of the journal that the configuration sets.
func JournalLimits(conf *config.Config) journal.Limits {
	c := conf.Journal
	return journal.Limits{Keep: c.Keep, MaxSize: c.MaxSize, Addresses: journal.Addresses(c.Addresses)}
}

func mode(conf *config.Config) string {
	if conf.Observe {
		return "observe"
	}
	return "enforce"
}

// addresses returns the addresses of the sockets, and their names in Postfix's parameters.
func addresses(listeners []net.Listener) (all []net.Addr, names string) {
	for _, ln := range listeners {
		all = append(all, ln.Addr())
		names += " " + postfixName(ln.Addr())
	}
	return all, strings.TrimPrefix(names, " ")
}

func postfixName(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return "inet:" + a.String()
}
