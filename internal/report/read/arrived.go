package read

import "time"

// Arrived is what the daemon verified about a message to a report address. It is the first line of the message's file in the spool, as JSON.
// An aggregate report counts only with Reporter, and a TLS report only with TLSReporter (RFC 8460 section 3).
type Arrived struct {
	QueueID   string    `json:"queue_id"`
	Received  time.Time `json:"received"`
	Recipient string    `json:"recipient"` // the report address
	// Reporter is d= of the aligned signature that made DMARC pass. If only SPF passed, it is the Author Domain. It is empty if DMARC did
	// not pass.
	Reporter string `json:"reporter,omitempty"`
	// TLSReporter is d= of a valid signature that counts for TLS reports: without l=, and its key has the service type email, * or tlsrpt.
	TLSReporter string `json:"tls_reporter,omitempty"`
}
