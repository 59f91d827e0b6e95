package daemon

import (
	"log/slog"
	"syscall"

	"signpost/internal/dns"
	"signpost/milter"
)

const (
	// ownFiles is the number of open files for other purposes. These are sockets, the journal, the keys directory, log, metrics, queries
	// without a DNS slot (key checks, `. NS`), and the copies of reports (spool.Reports).
	ownFiles = 96
	// slotShare divides the other files. One of every slotShare files is for DNS lookups, and the rest are for milter connections. Milter
	// connections need more files, because Postfix keeps a connection for each smtpd(8) process. If a process cannot get a connection, its
	// client waits. A lookup waits only milliseconds for a slot.
	slotShare = 3
	// minConnections is the minimum number of milter connections.
	minConnections = 8
	// fewFiles is the limit below which the daemon warns. It is the default of most systems, and allows 619 connections and 309
	// lookups: enough for Postfix's default of 100 smtpd processes.
	fewFiles = 1024
)

// limits are the limits that are derived from the limit on open files (RLIMIT_NOFILE).
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

// readLimits returns the limits of this process. The Go runtime has already raised the soft limit to the hard limit.
func readLimits(log *slog.Logger) limits {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		log.Warn("the limit on open files cannot be read", "error", err)
		return limitsFor(fewFiles)
	}
	const maxFiles = 1 << 20 // files above this number are never needed, and RLIM_INFINITY does not fit into an int
	l := limitsFor(int(min(uint64(files.Cur), maxFiles)))
	if l.files < fewFiles {
		log.Warn("the limit on open files is low, so that mail waits under load; set LimitNOFILE=4096 in signpost.service", "limit", l.files, "milter_connections", l.connections, "dns_lookups", l.slots)
	}
	return l
}
