package report

import (
	"context"
	"errors"
	"time"
)

// State is the database of the reports that were made: STATE_DIR/reports/reports.db. Each method is one transaction, which is on the disk
// when the method returns. A process that is killed therefore loses nothing, and continues with the next step. Several processes can use
// the database, but only one should send: the caller holds a lock.
type State struct{}

// ErrNoState is the error of OpenState if there is no database.
var ErrNoState = errors.New("no report was made yet")

// OpenState opens the database at path. If create is true, it creates the database and its directory; otherwise, the error wraps ErrNoState if
// there is none. now is the clock.
func OpenState(path string, create bool, now func() time.Time) (*State, error) {
	return nil, ErrNoState
}

// Close closes the database.
func (s *State) Close() {}

// Frozen is a report with everything that its message is made from. It never changes, so the message is the same each time it is sent.
type Frozen struct {
	ID       string    `json:"id"`
	File     string    `json:"file"`
	Gzip     []byte    `json:"-"`
	Day      time.Time `json:"day"`
	Domain   string    `json:"policy_domain"`
	Rows     int       `json:"rows"`
	Messages int       `json:"messages"`
	Created  time.Time `json:"created"` // in seconds, UTC; the Date of the message

	// The Sender when the report was frozen.
	SenderDomain string `json:"sender_domain"`
	OrgName      string `json:"org_name"`
	Email        string `json:"email"`
}

// Stage is the stage of a delivery.
type Stage string

// The stages. A delivery begins as StageFrozen. The others are final, unless the user retries.
const (
	StageFrozen     Stage = "frozen"     // not accepted yet
	StageAccepted   Stage = "accepted"   // the SMTP server replied 250
	StageGivenUp    Stage = "given_up"   // not accepted in time
	StageRefused    Stage = "refused"    // the SMTP server replied 5xx
	StageSuppressed Stage = "suppressed" // the destination was suppressed
)

// Delivery is a report to one destination.
type Delivery struct {
	Report      Frozen    `json:"report"` // Gzip is set only by Due
	Destination string    `json:"destination"`
	MAC         string    `json:"mac"` // of the envelope sender
	Stage       Stage     `json:"stage"`
	Changed     time.Time `json:"changed"`         // when the delivery reached the stage
	Tries       int       `json:"tries,omitempty"` // failed attempts
	Detail      string    `json:"detail,omitempty"`
	Bounced     string    `json:"bounced,omitempty"` // the status of the bounce, such as 5.1.1
}

// Freeze stores a report and its destinations, in their order. macs has the MAC of the envelope sender for each destination. If there is a
// report with this ID, Freeze changes nothing, and fresh is false.
func (s *State) Freeze(ctx context.Context, f Frozen, destinations, macs []string) (fresh bool, err error) {
	return false, nil
}

// Has reports whether a report with this ID was frozen.
func (s *State) Has(ctx context.Context, id string) (bool, error) { return false, nil }

// Due returns the deliveries in StageFrozen: those of the reports with the most rows first, and those of one report in the order of its
// destinations. most limits their number. Gzip is set.
func (s *State) Due(ctx context.Context, most int) ([]Delivery, error) { return nil, nil }

// Move sets the stage of a delivery, and its detail, such as the reply of the server.
func (s *State) Move(ctx context.Context, id, destination string, to Stage, detail string) error {
	return nil
}

// Tried counts a failed attempt of a delivery that stays in StageFrozen.
func (s *State) Tried(ctx context.Context, id, destination, detail string) error { return nil }

// GiveUp gives up the deliveries in StageFrozen whose report was frozen before a time. It returns them, without Gzip.
func (s *State) GiveUp(ctx context.Context, before time.Time) ([]Delivery, error) { return nil, nil }

// Retry returns a report's deliveries that were given up, refused or suppressed to StageFrozen, and restarts the time until they are given
// up. The message stays the same. It returns their number.
func (s *State) Retry(ctx context.Context, id string) (int, error) { return 0, nil }

// Accepted returns the number of deliveries that were accepted since a time, of all destinations, and by the domain of the destination.
func (s *State) Accepted(ctx context.Context, since time.Time) (all int, byHost map[string]int, err error) {
	return 0, nil, nil
}

// List returns all deliveries, without Gzip, newest report first. A report without destinations is not in the list.
func (s *State) List(ctx context.Context) ([]Delivery, error) { return nil, nil }

// Find returns a report by its ID, and its deliveries. found is false if there is none.
func (s *State) Find(ctx context.Context, id string) (f Frozen, all []Delivery, found bool, err error) {
	return Frozen{}, nil, false, nil
}

// Collected reports whether SetCollected was called for a day.
func (s *State) Collected(ctx context.Context, day time.Time) (bool, error) { return false, nil }

// SetCollected records that all reports of a day are frozen, so the journal of that day is not read again.
func (s *State) SetCollected(ctx context.Context, day time.Time) error { return nil }

// Expire deletes the reports that were frozen before a time, with their deliveries, except those that are due. It also deletes days and
// suppressions that no longer matter.
func (s *State) Expire(ctx context.Context, before time.Time) error { return nil }
