package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"signpost/milter"
)

// notify tells the service manager what becomes of the daemon: sd_notify(3). Where nobody wants to know it does nothing.
func (d *service) notify(state string) {
	if d.manager == "" {
		return
	}
	c, err := net.Dial("unixgram", d.manager) // takes @ for an abstract name as systemd does
	if err == nil {
		_, err = io.WriteString(c, state)
		c.Close()
	}
	if err != nil {
		d.log.Warn("telling the service manager", "error", err)
	}
}

// reloading is RELOADING=1; systemd wants the time with it, to tell this reload from an older one.
func reloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return "RELOADING=1"
	}
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000)
}

func (d *service) status() string {
	return fmt.Sprintf("STATUS=%s, %d hosted domains, %d messages since the start", mode(d.now.Load().conf), len(d.now.Load().watcher.Current().Hosted), d.begun.Load())
}

// watchdogEvery is half of what the service manager waits for a sign of life; 0: it does not wait.
func watchdogEvery() time.Duration {
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	usec, err := strconv.ParseUint(os.Getenv("WATCHDOG_USEC"), 10, 40)
	if err != nil {
		return 0
	}
	return time.Duration(usec) * time.Microsecond / 2
}

// watchdog gives signs of life until ctx ends, each only after every socket has answered a negotiation as Postfix's: a
// daemon that runs and serves nobody gives none. An answer has three quarters of that time, so that what is said after a
// late one still comes in time.
func (d *service) watchdog(ctx context.Context, every time.Duration) {
	for tick := time.Tick(every); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		if err := d.answers(every * 3 / 4); err == nil {
			d.notify("WATCHDOG=1\n" + d.status())
		} else if ctx.Err() == nil {
			d.log.Error("a socket of ours does not answer", "error", err)
		}
	}
}

// answers says whether every socket does, within limit. Where all connections are taken nobody new is answered, and that is
// no fault: a restart would cost the messages of those who are served.
func (d *service) answers(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, ln := range d.listeners {
		if d.server.Full() {
			return nil
		}
		if err := milter.Identify(ctx, ln.Addr().Network(), ln.Addr().String()); err != nil && !d.server.Full() {
			return fmt.Errorf("%s: %w", ln.Addr(), err)
		}
	}
	return nil
}
