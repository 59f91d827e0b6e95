package daemon

import (
	"log/slog"
	"syscall"

	"signpost/internal/dns"
	"signpost/milter"
)

const (
	// ownFiles is how many open files the daemon itself needs: sockets, the journal, the keys directory, log and metrics, and
	// the queries that take no DNS slot (key checks, `. NS`).
	ownFiles = 64
	// slotShare is the share of the other files that DNS lookups get, one in slotShare; milter connections get the rest.
	// Postfix keeps a connection for each smtpd(8) process, and without one its client waits. A lookup that waits for a slot
	// waits for milliseconds.
	slotShare = 3
	// minConnections is the smallest number of milter connections that makes sense to serve.
	minConnections = 8
	// fewFiles is the limit below which the daemon warns, the default of most systems. It allows 640 connections and 320
	// lookups, enough for Postfix's default of 100 smtpd processes.
	fewFiles = 1024
)

// limits are the bounds that follow from the limit on open files (RLIMIT_NOFILE).
type limits struct {
	files       int
	connections int // of the milter
	slots       int // of concurrent DNS lookups
}

func limitsFor(files int) limits {
	free := max(files-ownFiles, 0)
	slots := free / slotShare
	return limits{
		files:       files,
		connections: min(max(free-slots, minConnections), milter.DefaultConnections),
		slots:       min(max(slots, dns.MinSlots), dns.DefaultSlots),
	}
}

// readLimits returns the bounds of this process. The Go runtime has already raised the soft limit to the hard limit.
func readLimits(log *slog.Logger) limits {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		log.Warn("the limit on open files cannot be read", "error", err)
		return limitsFor(fewFiles)
	}
	const maxFiles = 1 << 20 // more makes no difference, and RLIM_INFINITY does not fit into an int
	l := limitsFor(int(min(uint64(files.Cur), maxFiles)))
	if l.files < fewFiles {
		log.Warn("the limit on open files is low, so that mail waits under load; set LimitNOFILE=4096 in signpost.service", "limit", l.files, "milter_connections", l.connections, "dns_lookups", l.slots)
	}
	return l
}
