// Package control is the control socket of "signpost cluster run": HTTP with JSON over a unix socket. dkimkey uses its [Client], so that
// neither dkimkey nor the daemon needs a database driver. The types are also the contents of STATE_DIR/cluster/status.json.
package control

import "time"

// The paths of the control socket. PathLead and PathSync are for POST, the others for GET.
const (
	PathLease   = "/lease"
	PathLead    = "/lead" // parameter wait_ms: how long to wait for the present holder
	PathMissing = "/missing"
	PathSync    = "/sync"
	PathStatus  = "/status"

	PathMessages = "/messages" // the messages that match a search
	PathMessage  = "/message"  // parameter id, a queue ID or Message-ID; or host and number
)

// Lease is the right to change keys and DNS records. One host of the cluster holds it.
type Lease struct {
	Holder string `json:"holder,omitempty"` // the name of a host; empty: no host holds the lease
	Mine   bool   `json:"mine"`             // this host holds the lease
	LeftMS int64  `json:"left_ms"`          // how long this host still holds it
	Epoch  int64  `json:"epoch"`            // increases each time the lease changes hands
}

// MinLeft is the shortest remaining time of the lease with which a change of DNS records may start.
const MinLeft = 30 * time.Second

// Purpose is the step for which the other hosts must be up to date.
type Purpose string

// The purposes.
const (
	Activate Purpose = "activate" // each host must have the private key
	Withdraw Purpose = "withdraw" // no host may sign with the key
)

// Missing is the answer to PathMissing: the hosts for which a step must wait.
type Missing struct {
	Hosts []Behind `json:"hosts"`
}

// Behind is a host that does not have a version yet.
type Behind struct {
	Name    string    `json:"name"`
	Seen    time.Time `json:"seen,omitzero"` // the time of its last synchronization; zero: none, or its row in the database is not valid
	Version int64     `json:"version"`       // the version that it has
	Needs   int64     `json:"needs"`         // the version that it must have
}

// Failure is the answer to a request that failed.
type Failure struct {
	Error string `json:"error"` // for the operator
	Hint  string `json:"hint,omitempty"`
}

// Status describes this host and the cluster.
type Status struct {
	At        time.Time `json:"at"`
	Site      string    `json:"site"`    // the identifier of the cluster
	Host      string    `json:"host"`    // the name of this host
	Version   int64     `json:"version"` // the version that this host has
	Database  Database  `json:"database"`
	Leader    string    `json:"leader,omitempty"`
	LeaseLeft int64     `json:"lease_left_ms"` // if this host is the leader
	Hosts     []Host    `json:"hosts"`         // the registered hosts, this one included, by name
	Refused   []Refused `json:"refused,omitempty"`
	KeyIDs    []string  `json:"key_ids"`            // the site keys that this host has
	Reports   *Reports  `json:"reports,omitempty"`  // nil: no host ships the counts of DMARC reports
	Messages  *Messages `json:"messages,omitempty"` // nil: cluster.ship is none
	Error     string    `json:"error,omitempty"`
}

// Database is the state of the database as this host sees it.
type Database struct {
	Version   int64     `json:"version"` // at the last synchronization
	Reachable bool      `json:"reachable"`
	Since     time.Time `json:"since"` // the database has been reachable, or not reachable, since then
}

// Host is a registered host.
type Host struct {
	Name    string    `json:"name"`
	Seen    time.Time `json:"seen,omitzero"`
	Version int64     `json:"version"`
	Lag     int64     `json:"lag"`                 // how many versions it is behind the database
	Program string    `json:"program"`             // the version of Signpost
	ClockMS int64     `json:"clock_difference_ms"` // its clock minus the clock of the database
	KeyIDs  []string  `json:"key_ids"`
	Missing bool      `json:"missing"` // it has not synchronized within MissingAfter
}

// Reports is the state of the DMARC reports about yesterday, or about the day before until 03:00 UTC.
type Reports struct {
	Day   string   `json:"day"`
	Hosts []string `json:"hosts"`        // the hosts that ship counts
	Late  []string `json:"late"`         // those that have not shipped all counts of the day
	Made  int      `json:"reports_made"` // reports about the day
}

// Messages is the state of the copies of messages in the database. The numbers count since this host joined.
type Messages struct {
	Shipped int64     `json:"shipped"`          // messages of this host that were copied to the database
	Waiting int64     `json:"waiting"`          // messages that are not copied yet
	Since   time.Time `json:"since,omitzero"`   // the time of the oldest message that waits; zero: no message waits
	Lost    int64     `json:"lost"`             // messages that the journal deleted before they were copied, or that cannot be read
	LostAt  time.Time `json:"lost_at,omitzero"` // when this was last noticed
	Bytes   int64     `json:"database_bytes"`   // the approximate size of all copies of all hosts in the database
	Error   string    `json:"error,omitempty"`  // why no message can be copied
}

// MissingAfter is how long a host may be silent before it counts as missing.
const MissingAfter = 2 * time.Minute

// Refused is a row of the database that did not verify.
type Refused struct {
	Table  string `json:"table"`
	Name   string `json:"name"`
	Reason string `json:"reason"`
}
