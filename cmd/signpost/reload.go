package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"signpost/internal/config"
	"signpost/internal/dns"
	"signpost/internal/filter"
	"signpost/internal/journal"
	"signpost/keys"
)

// keysEvery is how often the keys folder is looked at.
const keysEvery = time.Second

// generation is everything that a configuration decides and a reload replaces. It does not change once it is in effect.
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

// restartKeys are the keys that are read at the start only: sockets stay bound, and what the state folder remembers is not
// moved under a daemon that uses it. All others are in effect after a reload.
func restartKeys() []string {
	return []string{"journal.enabled", "listen", "log.format", "log.syslog", "metrics.listen", "socket_group", "socket_mode", "state_dir"}
}

// build makes a generation. It takes from the old one what is the same in both: the answers that the resolver keeps, the keys
// as they are known.
func (d *service) build(conf *config.Config, old *generation) (*generation, error) {
	g := &generation{conf: conf}
	if err := g.level.UnmarshalText([]byte(conf.Log.Level)); err != nil {
		return nil, fmt.Errorf("log.level: %w", err)
	}
	if old != nil && old.conf.KeysDir() == conf.KeysDir() {
		g.watcher = old.watcher
	} else {
		watcher, err := keys.Open(keys.Store{State: conf.StateDir, Dir: conf.KeysDir(), Now: time.Now}, d.log)
		if err != nil {
			return nil, err
		}
		g.watcher = watcher
	}
	var err error
	if g.servers, err = nameServers(conf); err != nil {
		return nil, err
	}
	if old != nil && slices.Equal(old.servers, g.servers) && old.conf.DNS.Timeout == conf.DNS.Timeout {
		g.resolver = old.resolver
	} else {
		g.resolver = dns.New(dns.Options{Servers: g.servers, Timeout: conf.DNS.Timeout, Slots: d.limits.slots, FailedOver: d.measures.NameServerFailedOver, Now: time.Now, Log: d.log})
		g.resolver.Tell(d.measures.Asked)
	}
	authority, err := newAuthority(conf, g.resolver, d.log)
	if err != nil {
		return nil, err
	}
	g.checker = &keys.Checker{Authority: authority}
	// The guard goes on with what it has seen of the same keys; onHangup gives it the new checker.
	if old != nil && old.watcher == g.watcher {
		g.guard = old.guard
	} else {
		g.guard = &keys.Guard{Watcher: g.watcher, Now: time.Now, Log: d.log}
	}
	g.filter = newFilter(conf, d.log)
	g.filter.Keys, g.filter.Resolver, g.filter.Measured = g.watcher.Current, g.resolver, d.measures.Message
	if d.journal != nil {
		g.filter.Kept = d.journal.Keep
		g.filter.Recipients = journalLimits(conf).Addresses != journal.Omit
	}
	return g, nil
}

// onHangup looks after the keys of the generation in effect, and at SIGHUP puts the next one in its place.
func (d *service) onHangup(ctx context.Context, hangup <-chan os.Signal) {
	for ctx.Err() == nil {
		g := d.now.Load()
		d.level.Set(g.level)
		g.guard.Checker = g.checker // nobody runs the guard here
		during, stop := context.WithCancel(ctx)
		var running sync.WaitGroup
		running.Go(func() { g.watcher.Run(during, keysEvery) })
		running.Go(func() { g.guard.Run(during) })
		for d.now.Load() == g && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-hangup:
				d.again()
			}
		}
		stop()
		running.Wait()
	}
}

// again is one reload: the configuration and the keys are read and validated, then take effect in one step. After an error, the old
// ones stay in effect.
func (d *service) again() {
	d.notify(reloading())
	err := d.outside(d.readAgain())
	d.notify("READY=1\n" + d.status()) // whatever came of it: the daemon serves
	if err != nil {
		d.log.Error("configuration not read again (SIGHUP), the old one goes on", "error", err)
	}
	d.measures.Reloaded(err == nil)
	if d.reloaded != nil {
		d.reloaded(err == nil)
	}
}

func (d *service) readAgain() error {
	old := d.now.Load()
	if d.file == "" {
		old.watcher.Reload()
		d.log.Info("keys read again (SIGHUP)")
		return nil
	}
	conf, err := config.Load(d.file)
	if err != nil {
		return err
	}
	conf.StateDir = d.conf.StateDir
	g, err := d.build(conf, old)
	if err != nil {
		return err
	}
	g.watcher.Reload()
	var changed []string
	for _, key := range config.Changed(old.conf, conf) {
		if !slices.Contains(restartKeys(), key) {
			changed = append(changed, key)
		}
	}
	if key := "dmarc.forwarders_file"; !slices.Equal(old.conf.DMARC.Forwarders, conf.DMARC.Forwarders) && !slices.Contains(changed, key) {
		changed = append(changed, key)
	}
	for _, key := range config.Changed(d.conf, conf) {
		if slices.Contains(restartKeys(), key) {
			d.log.Warn(key + ": needs a restart")
		}
	}
	d.warn(conf)
	d.now.Store(g)
	d.measures.Observing(conf.Observe)
	d.level.Set(g.level)
	if d.journal != nil {
		d.journal.Limit(journalLimits(conf))
	}
	d.log.Info("configuration read again (SIGHUP)", "changed", strings.Join(changed, " "), "mode", mode(conf))
	return nil
}
