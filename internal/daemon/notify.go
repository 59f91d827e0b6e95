package daemon

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"signpost/internal/setup"
	"signpost/milter"
)

// notify sends a state to the service manager, if there is one.
func (d *service) notify(state string) {
	if err := setup.Notify(d.notifySocket, state); err != nil {
		d.log.Warn("notifying the service manager failed", "error", err)
	}
}

// reloading returns RELOADING=1 with the monotonic time. systemd uses the time to distinguish this reload from an earlier one.
func reloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return "RELOADING=1"
	}
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000)
}

func (d *service) status() string {
	return fmt.Sprintf("STATUS=%s, %d hosted domains, %d messages since the start", mode(d.now.Load().conf), len(d.now.Load().watcher.Current().Hosted), d.messages.Load())
}

// watchdogInterval returns half of the watchdog timeout of the service manager, or 0 if there is none.
func watchdogInterval() time.Duration {
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	usec, err := strconv.ParseUint(os.Getenv("WATCHDOG_USEC"), 10, 40)
	if err != nil {
		return 0
	}
	return time.Duration(usec) * time.Microsecond / 2
}

// watchdog sends WATCHDOG=1 at each interval until ctx ends, if all sockets answer a milter negotiation. If the daemon runs but does
// not answer, systemd therefore restarts it. The timeout of the negotiations is three quarters of the interval.
func (d *service) watchdog(ctx context.Context, interval time.Duration) {
	for tick := time.Tick(interval); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		if err := d.probe(ctx, interval*3/4); err == nil {
			d.notify("WATCHDOG=1\n" + d.status())
		} else if ctx.Err() == nil {
			d.log.Error("a milter socket does not answer", "error", err)
		}
	}
}

// probe returns an error unless all sockets answer within timeout. It returns nil if all connections are in use. In that case, the daemon
// does not answer a new connection, but a restart would interrupt the messages on the existing connections.
func (d *service) probe(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
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
