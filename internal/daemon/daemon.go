// Package daemon is signpost serve. It opens the sockets for Postfix, filters messages, reloads the configuration and the keys, confines
// the process with Landlock, and notifies the service manager. When it stops, it completes the messages in progress.
//
//	err := daemon.Run(ctx, daemon.Options{Config: conf, File: file, Stderr: os.Stderr, Version: version, Confine: true})
package daemon

import (
	"context"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/config"
	"signpost/internal/journal"
	"signpost/internal/lookup"
	"signpost/internal/metrics"
	"signpost/internal/report/status"
	"signpost/internal/setup"
	"signpost/internal/spool"
	"signpost/milter"
)

// Options are the arguments of Run.
type Options struct {
	Config  *config.Config
	File    string // the configuration file, which SIGHUP reloads; empty: SIGHUP reloads only the keys
	Stderr  io.Writer
	Version string // for the metric signpost_build_info
	// Confine removes the access of the process to files that the daemon does not need. It cannot be undone.
	Confine bool
}

// Run runs the daemon until ctx ends or a socket fails. Before it returns, it completes the messages in progress, for at most
// milter.DrainTimeout.
func Run(ctx context.Context, o Options) error { return (&service{Options: o}).run(ctx) }

// service is one run of the daemon.
type service struct {
	Options
	reloaded func(ok bool) // if not nil, called after each reload

	notifySocket string // NOTIFY_SOCKET; empty: there is no service manager
	log          *slog.Logger
	limits       limits
	metrics      *metrics.Metrics
	level        slog.LevelVar
	listeners    []net.Listener
	server       *milter.Server
	confined     bool
	granted      grants           // nil: connections to unix sockets are not restricted
	journal      *journal.Journal // nil: disabled
	tables       *lookup.Cache
	intake       *spool.Intake // of reports of others
	copiesLost   sparse
	messages     atomic.Int64 // since the start
	now          atomic.Pointer[generation]
	sharedSeen   fs.FileInfo // the file of shared rules at the last check
	hashKeySeen  fs.FileInfo // the file of HashKey at the last check
}

func (d *service) run(ctx context.Context) error {
	// This comes first, because an unhandled SIGHUP would end the process.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	d.notifySocket = setup.NotifySocket()

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
		defer d.journal.Close() // after the messages in progress are completed
		d.pollHashKey(conf)
	}
	d.tables = tableAnswers(conf, d.metrics, log)
	d.intake = spool.NewIntake(ReceivedSpool(conf))
	first, err := d.build(conf, nil)
	if err != nil {
		return err
	}
	savedAnswers := d.loadAnswers() // now it is known that state_dir exists
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
	background.Go(func() { d.tables.KeepSaved(serving, savedAnswers) })
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

func tableAnswers(conf *config.Config, m *metrics.Metrics, log *slog.Logger) *lookup.Cache {
	for _, outcome := range lookup.Outcomes() {
		m.TableLookups(string(outcome), 0) // creates the counter with 0, so that Prometheus sees the first failure as an increase
	}
	return setup.TableAnswers(conf, log, func(outcome lookup.Outcome) { m.TableLookups(string(outcome), 1) })
}

// loadAnswers reads the answers of tables from the time before the start, and returns the file. After an error, the daemon starts without
// them.
func (d *service) loadAnswers() (file string) {
	file = filepath.Join(d.Config.TablesDir(), "answers")
	err := setup.KeyStore(d.Config).MakeState(filepath.Base(d.Config.TablesDir()))
	if err == nil {
		err = d.tables.Load(file)
	}
	if err != nil && len(d.Config.Tables()) > 0 {
		d.log.Warn("the saved answers of tables are not used", "error", err)
	}
	return file
}

// begin and broken use the current generation. A message keeps the generation that was current when it began.
func (d *service) begin(ctx context.Context, s milter.Session, e milter.Envelope) milter.Message {
	m := d.now.Load().filter.Begin(ctx, s, e)
	d.messages.Add(1)
	return m
}

func (d *service) broken(s milter.Session, e milter.Envelope) milter.Reply {
	return d.now.Load().filter.Broken(s, e)
}

// warn logs expired entries. It also warns if no filter acts on the tag of quarantined mail. It is called at the start and at each
// reload.
func (d *service) warn(conf *config.Config) {
	if conf.TagUnhandled() {
		d.log.Warn("dmarc.quarantine_handled is false: without a filter that acts on X-Signpost-Disposition, quarantined forgeries reach the inbox",
			"hint", "install junk.sieve or milter_header_checks, then set it to true: see quarantine_handled in signpost.toml(5)")
	}
	for _, entry := range setup.Expired(conf, time.Now()) {
		d.log.Warn("an exception has expired and is ignored", "entry", entry)
	}
}

// startMetrics starts the server for the metrics. It returns nil if metrics.listen is empty.
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

// watchMetrics registers the sources that each scrape reads: the connections, the keys of the current generation, and the state of
// the cluster.
func (d *service) watchMetrics() {
	d.metrics.Watch(metrics.Source{Connections: d.server.Connections, Keys: func() metrics.Keys {
		g := d.now.Load()
		return metrics.Keys{Snapshot: g.watcher.Current(), Readable: g.watcher.Fault() == "", Wrong: g.guard.Wrong(), Rules: setup.KeyRules(g.conf), Now: time.Now()}
	}, Cluster: func() (s control.Status, ok bool, err error) {
		conf := d.now.Load().conf
		if !conf.Clustered() {
			return s, false, nil
		}
		s, err = control.ReadStatus(setup.ClusterStatus(conf))
		return s, true, err
	}, Reports: func() metrics.Reports { return d.reports(d.now.Load().conf) }, Received: func() status.Received { return received(d.now.Load().conf) }})
}

func openJournal(conf *config.Config, m *metrics.Metrics, log *slog.Logger) *journal.Journal {
	lost := func(cause journal.Cause, n int) { m.JournalLost(string(cause), n) }
	for _, cause := range journal.Causes() {
		lost(cause, 0) // creates the counter with 0, so that Prometheus sees the first loss as an increase
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

// addresses returns the addresses of the sockets, and their names for Postfix's parameters.
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
