package main

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

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/journal"
	"signpost/internal/metrics"
	"signpost/internal/setup"
	"signpost/milter"
)

// service is one run of serve.
type service struct {
	conf   *config.Config
	file   string // empty: SIGHUP reads only the keys again
	stderr io.Writer
	// reloaded, if there is one, is told how each reload went.
	reloaded func(ok bool)
	// confines has the process give up the rest of the file system. A test's own process keeps it.
	confines bool

	manager   string // the service manager's socket, as it was at the start; empty: nobody wants to know
	log       *slog.Logger
	limits    limits
	measures  *metrics.Metrics
	level     slog.LevelVar
	listeners []net.Listener
	server    *milter.Server
	confined  bool
	journal   *journal.Journal // nil: none is kept
	begun     atomic.Int64     // messages
	now       atomic.Pointer[generation]
}

// serve runs the daemon until ctx ends, with a configuration that does not change.
func serve(ctx context.Context, conf *config.Config, stderr io.Writer) error {
	return (&service{conf: conf, stderr: stderr}).run(ctx)
}

// run is keys, sockets, messages, reloads, drain.
func (d *service) run(ctx context.Context) error {
	// Before anything else: a signal that nobody waits for would end the daemon.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	d.manager = os.Getenv("NOTIFY_SOCKET")

	conf := d.conf
	log, err := setup.Logger(conf.Log, &d.level, d.stderr)
	if err != nil {
		return err
	}
	d.log = log
	d.limits = readLimits(log)
	d.measures = metrics.New(conf.Observe, cli.Number())
	health, err := startMetrics(conf, d.measures, log)
	if err != nil {
		return err
	}
	if health != nil {
		defer health.Close()
	}
	d.warn(conf)
	if conf.Journal.Enabled {
		d.journal = openJournal(conf, d.measures, log)
		defer d.journal.Close() // behind the drain
	}
	first, err := d.build(conf, nil)
	if err != nil {
		return err
	}
	d.now.Store(first)
	if d.listeners, err = listen(conf); err != nil {
		return err
	}
	d.server = milter.NewServer(milter.Options{Begin: d.begin, Broken: d.broken, Log: log, Panicked: d.measures.Panicked, Connections: d.limits.connections})
	d.watchMetrics(d.server)
	if d.confines {
		d.confine()
	}

	serving, stop := context.WithCancel(ctx)
	defer stop()
	var background sync.WaitGroup
	if os.Getenv("GOGC") == "" {
		background.Go(func() { tuneCollection(serving) })
	}
	background.Go(func() { d.onHangup(serving, hangup) })
	failed := make(chan error, len(d.listeners))
	for _, ln := range d.listeners {
		background.Go(func() { failed <- d.server.Serve(serving, ln) })
	}
	if health != nil {
		health.Ready(sockets(d.listeners))
	}
	log.Info("signpost serves", "listen", addresses(d.listeners), "mode", mode(conf), "hosted_domains", len(first.watcher.Current().Hosted))
	d.notify("READY=1\n" + d.status())
	if every := watchdogEvery(); every > 0 {
		background.Go(func() { d.watchdog(serving, every) })
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

// begin and broken take the generation that is in effect now; a message keeps the one that it began with.
func (d *service) begin(ctx context.Context, s milter.Session, e milter.Envelope) milter.Message {
	m := d.now.Load().filter.Begin(ctx, s, e)
	d.begun.Add(1)
	return m
}

func (d *service) broken(s milter.Session, e milter.Envelope) milter.Reply {
	return d.now.Load().filter.Broken(s, e)
}

// warn logs what in a configuration has no effect, and tagged mail that nothing acts on. It runs at the start and at each
// reload, as a reload may turn observe mode off.
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

// addresses are the sockets in Postfix's words.
func addresses(listeners []net.Listener) string {
	var all []string
	for _, ln := range listeners {
		all = append(all, inWords(ln.Addr()))
	}
	return strings.Join(all, " ")
}

func inWords(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return "inet:" + a.String()
}
