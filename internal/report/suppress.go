package report

import (
	"context"
	"time"
)

// Suppression is a destination to which no report is sent for some time.
type Suppression struct {
	Destination string    `json:"destination"` // lower case
	Until       time.Time `json:"until"`
	Count       int       `json:"count"`            // how often it was suppressed because of bounces
	Status      string    `json:"status,omitempty"` // of the last bounce; empty: suppressed by the user
}

// Bounce records that the delivery with a MAC has failed with a Status 5.x, and suppresses its destination: for 30 days, then 90, then 365,
// or for 3 days if the mailbox is full (5.2.2). It returns the delivery. known is false if no delivery has the MAC. A second bounce of a
// delivery changes nothing.
func (s *State) Bounce(ctx context.Context, mac, status string) (d Delivery, known bool, err error) {
	return Delivery{}, false, nil
}

// Suppress suppresses a destination until a time. A time in the past ends the suppression, and forgets the bounces.
func (s *State) Suppress(ctx context.Context, destination string, until time.Time) error { return nil }

// Suppressed returns the suppressions that have not ended, by destination.
func (s *State) Suppressed(ctx context.Context) (map[string]Suppression, error) { return nil, nil }
