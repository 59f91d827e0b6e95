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
	"syscall"
	"time"

	"signpost/internal/config"
	"signpost/keys"
	"signpost/milter"
)

// keysEvery is how often the keys folder is looked at.
const keysEvery = time.Second

// serve runs the daemon until ctx ends: keys, sockets, messages, drain.
func serve(ctx context.Context, conf *config.Config, stderr io.Writer) error {
	log, err := newLogger(conf.Log, stderr)
	if err != nil {
		return err
	}
	for _, key := range conf.NotYet() {
		log.Warn("a configuration key has no effect yet in this version", "key", key)
	}

	for _, entry := range expired(conf, time.Now()) {
		log.Warn("an exception has expired and does not count", "entry", entry)
	}

	hosted := keys.Hosted{Dir: conf.HostedDir(), Now: time.Now}
	watcher, err := keys.Open(keys.Store{Dir: conf.KeysDir(), Observed: conf.ObservedDir()}, hosted, log)
	if err != nil {
		return err
	}
	resolver, err := newResolver(conf, log)
	if err != nil {
		return err
	}
	listeners, err := listen(conf)
	if err != nil {
		return err
	}
	f := newFilter(conf, log)
	f.Keys, f.Resolver = watcher.Current, resolver
	server := milter.NewServer(milter.Options{Begin: f.Begin, Broken: f.Broken, Log: log})

	serving, stop := context.WithCancel(ctx)
	defer stop()
	var background sync.WaitGroup
	background.Go(func() { watcher.Run(serving, keysEvery) })
	if os.Getenv("GOGC") == "" {
		background.Go(func() { tuneCollection(serving) })
	}
	guard, err := newGuard(conf, watcher, resolver, log)
	if err != nil {
		return err
	}
	background.Go(func() { guard.Run(serving) })
	background.Go(func() { onHangup(serving, watcher, log) })
	failed := make(chan error, len(listeners))
	for _, ln := range listeners {
		background.Go(func() { failed <- server.Serve(serving, ln) })
	}
	log.Info("signpost serves", "listen", addresses(listeners), "mode", mode(conf), "hosted_domains", len(watcher.Current().Hosted))

	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop()
	background.Wait()
	log.Info("signpost stops, messages under way are finished first")
	draining, cancel := context.WithTimeout(context.Background(), milter.DrainTimeout)
	defer cancel()
	server.Drain(draining)
	return err
}

func mode(conf *config.Config) string {
	if conf.Observe {
		return "observe"
	}
	return "enforce"
}

func listen(conf *config.Config) ([]net.Listener, error) {
	var all []net.Listener
	for _, l := range conf.Listen {
		mode, group := conf.Rights(l)
		ln, err := milter.Listen(l.Network, l.Address, mode, group)
		if err != nil {
			for _, ln := range all {
				ln.Close()
			}
			return nil, err
		}
		all = append(all, ln)
	}
	return all, nil
}

// addresses are the sockets in Postfix's words.
func addresses(listeners []net.Listener) string {
	var all []string
	for _, ln := range listeners {
		a := ln.Addr()
		if a.Network() == "unix" {
			all = append(all, "unix:"+a.String())
		} else {
			all = append(all, "inet:"+a.String())
		}
	}
	return strings.Join(all, " ")
}

// onHangup reads the keys again at SIGHUP. Without it the signal would end the daemon.
func onHangup(ctx context.Context, watcher *keys.Watcher, log *slog.Logger) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			watcher.Reload()
			log.Info("keys read again (SIGHUP); a changed configuration needs a restart")
		}
	}
}
