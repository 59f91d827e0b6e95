package cluster

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"signpost/internal/cluster/control"
	"signpost/keys"
)

// Poll is the time between two synchronizations.
const Poll = 5 * time.Second

// Options describe a host.
type Options struct {
	DB      *DB
	Copies  *DB    // for the copies of messages: connections of their own, so that searches never delay keys and the lease; nil: DB
	KeyFile string // the site keys
	Store   keys.Store
	Name    string // of the host in the cluster
	Program string // the version of Signpost
	Now     func() time.Time
	Log     *slog.Logger
	// Verify reports whether the record of a key in DNS belongs to the key. Join calls it for active keys that the cluster does not know.
	Verify func(ctx context.Context, domain, selector string) (same bool, err error)
	// Merge, if set, merges rules of the kinds of SharedKinds with the file of shared rules, and returns the rules of the file. The rules of
	// base were in the file after the previous merge. The rules of database are in the database now. If Merge returns an error, no such rule
	// is pushed.
	Merge func(base, database map[RuleID]string) (file map[RuleID]string, err error)
}

// The kinds of rules.
const (
	kindHosted  = "hosted"  // name: a domain; the body is empty if it is not hosted
	kindRemoved = "removed" // name: a domain; body: STATE_DIR/removed/DOMAIN
	kindHost    = "host"    // name: a host; body: a member
	kindSite    = "site"    // name: restoreRule
	restoreName = "restore" // its version is that of the last accept-restore
)

// SharedKinds returns the kinds of the rules that Options.Merge gets.
func SharedKinds() []string { return []string{"forwarder", "allow", "deny"} }

// Host synchronizes the files of one host with the database. Its methods are safe for concurrent use.
type Host struct {
	Options
	file stateFile

	syncing chan struct{} // holds a value while a method uses the fields below; a channel, so that a caller can stop waiting
	state   *state        // nil: not loaded, or this host has not joined
	keys    *SiteKeys
	files   *keys.FileSet
	counter int64              // of the database
	seq     int64              // of this host's row in sp_host
	hosts   map[string]hostRow // the rows of sp_host; nil: unknown
	hostsAt time.Time          // when hosts was read
	hostsDB int64              // the time of the database then, in ms
	logged  map[refusal]bool
	stopped *Stop // the error of the last synchronization

	reports   *control.Reports
	reportsAt time.Time // when reports was read
	hashKey   string    // as last written

	mu     sync.Mutex // protects the fields below, which the methods for readers use
	lease  leaseState
	status control.Status
}

// New returns a host. It reads no file, and does not connect.
func New(o Options) *Host {
	o.Store.Lease = &keys.Lease{}
	return &Host{Options: o, file: stateFile{dir: o.Store.State}, syncing: make(chan struct{}, 1), logged: map[refusal]bool{}}
}

// begin waits until no other method runs.
func (h *Host) begin(ctx context.Context) (end func(), err error) {
	select {
	case h.syncing <- struct{}{}:
		return func() { <-h.syncing }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
