package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"signpost/internal/config"
	"signpost/internal/decision"
	"signpost/internal/dns"
	"signpost/internal/filter"
	"signpost/internal/setup"
	"signpost/keys"
)

// keysInterval is the time between two checks of the keys directory for changes.
const keysInterval = time.Second

// generation is the state that depends on the configuration. A reload replaces it. It is immutable while it is current.
type generation struct {
	conf     *config.Config
	level    slog.Level
	servers  []netip.AddrPort
	resolver *dns.Resolver
	watcher  *keys.Watcher
	checker  *keys.Checker
	guard    *keys.Guard
	filter   *filter.Filter
}

// restartKeys returns the configuration keys that need a restart, because sockets stay open and the state directory is in use. All
// other keys take effect at a reload.
func restartKeys() []string {
	return []string{"domains.server", "journal.enabled", "listen", "log.format", "log.syslog", "metrics.listen", "socket_group", "socket_mode", "state_dir"}
}

// build returns a new generation. The parameter old is the current generation, or nil at the start of the daemon. build reuses the resolver
// and the key watcher if their configuration has not changed. The resolver then keeps its cache.
func (d *service) build(conf *config.Config, old *generation) (*generation, error) {
	g := &generation{conf: conf}
	if err := g.level.UnmarshalText([]byte(conf.Log.Level)); err != nil {
		return nil, fmt.Errorf("log.level: %w", err)
	}
	if old != nil && old.conf.KeysDir() == conf.KeysDir() {
		g.watcher = old.watcher
	} else {
		watcher, err := keys.Open(setup.KeyStore(conf), d.log)
		if err != nil {
			return nil, err
		}
		g.watcher = watcher
	}
	options, err := setup.ResolverOptions(conf, time.Now, d.log)
	if err != nil {
		return nil, err
	}
	g.servers = options.Servers
	if old != nil && slices.Equal(old.servers, g.servers) && old.conf.DNS.Timeout == conf.DNS.Timeout {
		g.resolver = old.resolver
	} else {
		options.Slots, options.FailedOver = d.limits.slots, d.metrics.NameServerFailedOver
		g.resolver = dns.New(options)
		g.resolver.SetObserver(d.metrics.Asked)
	}
	authority, err := setup.Authority(conf, g.resolver, time.Now, d.log)
	if err != nil {
		return nil, err
	}
	g.checker = &keys.Checker{Authority: authority}
	// If the keys are the same, their guard keeps its observations. runGenerations sets its new checker.
	if old != nil && old.watcher == g.watcher {
		g.guard = old.guard
	} else {
		g.guard = &keys.Guard{Watcher: g.watcher, Now: time.Now, Log: d.log}
	}
	g.filter = setup.Filter(conf, d.log)
	g.filter.Keys, g.filter.Resolver, g.filter.Finished = g.watcher.Current, g.resolver, d.finished
	d.tables.SetTimeout(conf.Domains.Timeout)
	g.filter.Listed, g.filter.Owners = setup.Listed(conf, d.tables), setup.Owners(conf, d.tables)
	g.filter.Bounces, g.filter.Reports = d.bounces(conf), d.received(conf)
	return g, nil
}

// finished counts a message and adds it to the journal.
func (d *service) finished(r *decision.Record) {
	d.metrics.Message(r)
	if d.journal != nil {
		d.journal.Add(r)
	}
}

// runGenerations runs the watcher and the guard of the keys of the current generation, and reloads at each SIGHUP and when the shared
// rules have changed, until ctx ends.
func (d *service) runGenerations(ctx context.Context, hangup <-chan os.Signal) {
	poll := time.NewTicker(sharedInterval)
	defer poll.Stop()
	for ctx.Err() == nil {
		g := d.now.Load()
		d.level.Set(g.level)
		g.guard.Checker = g.checker // the guard is not running
		during, stop := context.WithCancel(ctx)
		var running sync.WaitGroup
		running.Go(func() { g.watcher.Run(during, keysInterval) })
		running.Go(func() { g.guard.Run(during) })
		for d.now.Load() == g && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-hangup:
				d.reload()
			case <-poll.C:
				d.pollShared()
				d.pollHashKey(d.now.Load().conf)
			}
		}
		stop()
		running.Wait()
	}
}

// reload reads and checks the configuration and the keys. They take effect in one step. After an error, the previous configuration and
// keys stay in effect.
func (d *service) reload() {
	d.notify(reloading())
	err := d.hintConfined(d.next())
	d.notify("READY=1\n" + d.status()) // this is also sent after an error, because the daemon continues
	if err != nil {
		d.log.Error("configuration not reloaded (SIGHUP): the previous one stays in effect", "error", err)
	}
	d.metrics.Reloaded(err == nil)
	if d.reloaded != nil {
		d.reloaded(err == nil)
	}
}

// next builds the next generation and makes it the current one.
func (d *service) next() error {
	old := d.now.Load()
	if d.File == "" {
		old.watcher.Reload()
		d.log.Info("keys reloaded (SIGHUP)")
		return nil
	}
	conf, err := config.Load(d.File)
	if err != nil {
		return err
	}
	conf.StateDir = d.Config.StateDir
	if err := conf.ReadShared(); err != nil {
		return err
	}
	g, err := d.build(conf, old)
	if err != nil {
		return err
	}
	g.watcher.Reload()
	var changed []string
	for _, key := range config.Changed(old.conf, conf) {
		if strings.HasPrefix(key, "cluster.") {
			d.log.Warn(key + ": needs a restart of signpost-cluster")
		}
		if !slices.Contains(restartKeys(), key) {
			changed = append(changed, key)
		}
	}
	if key := "dmarc.forwarders_file"; !slices.Equal(old.conf.DMARC.Forwarders, conf.DMARC.Forwarders) && !slices.Contains(changed, key) {
		changed = append(changed, key)
	}
	if !old.conf.Shared.Equal(conf.Shared) {
		changed = append(changed, filepath.Base(conf.SharedFile()))
	}
	for _, key := range config.Changed(d.Config, conf) {
		if slices.Contains(restartKeys(), key) {
			d.log.Warn(key + ": needs a restart")
		}
	}
	d.warn(conf)
	d.warnUnreachable(conf)
	d.now.Store(g)
	d.metrics.Observing(conf.Observe)
	d.level.Set(g.level)
	if d.journal != nil {
		d.journal.Limit(JournalLimits(conf))
	}
	d.log.Info("configuration reloaded (SIGHUP)", "changed", strings.Join(changed, " "), "mode", mode(conf))
	return nil
}
