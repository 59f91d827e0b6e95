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
	// Confine makes the process give up the access to files that the daemon does not need, until the process ends.
	Confine bool
}

// Run runs the daemon until ctx ends or a socket fails, and drains it.
func Run(ctx context.Context, o Options) error { return (&service{Options: o}).run(ctx) }

// service is one run of the daemon.
type service struct {
	Options
	reloaded func(ok bool) // if set, is called after each reload

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
	if health != nil {
		health.Ready(sockets(d.listeners))
	}
	log.Info("signpost serves", "listen", postfixNames(d.listeners), "mode", mode(conf), "hosted_domains", len(first.watcher.Current().Hosted))
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
	log.Info("signpost stops, messages under way are finished first")
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
			"hint", "install junk.sieve or milter_header_checks, then set it to true: docs/operations.md, \"Quarantined mail\"")
	}
	for _, entry := range setup.Expired(conf, time.Now()) {
		d.log.Warn("an exception has expired and does not count", "entry", entry)
	}
}

func mode(conf *config.Config) string {
	if conf.Observe {
		return "observe"
	}
	return "enforce"
}

// postfixNames returns the addresses of the sockets as Postfix's parameters name them.
func postfixNames(listeners []net.Listener) string {
	var all []string
	for _, ln := range listeners {
		all = append(all, postfixName(ln.Addr()))
	}
	return strings.Join(all, " ")
}

func postfixName(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return "inet:" + a.String()
}

func sockets(listeners []net.Listener) (all []net.Addr) {
	for _, ln := range listeners {
		all = append(all, ln.Addr())
	}
	return all
}
