package dns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/miekg/dns"
)

// Status is the outcome of a lookup. The Err of each *net.DNSError of this package is a Status.
type Status string

// The outcomes of lookups that were answered. In this order, they mean: there are records, the name does not exist, and the name has no
// such record.
const (
	NoError  Status = "NOERROR"
	NXDomain Status = "NXDOMAIN"
	NoData   Status = "NODATA"
)

// The servers replied with an error RCODE. A server may reply with other RCODEs: see dns.RcodeToString of miekg/dns.
const (
	FormErr  Status = "FORMERR"
	ServFail Status = "SERVFAIL"
	NotImp   Status = "NOTIMP"
	Refused  Status = "REFUSED"
)

// The servers sent no readable answer.
const (
	Timeout           Status = "timeout"            // no reply was received in time, or the deadline for the message had passed
	ConnectionRefused Status = "connection_refused" // no process listens at the address of the server
	ConnectionClosed  Status = "connection_closed"  // the server closed the connection before its reply
	Unreachable       Status = "unreachable"        // the query could not be sent to the server for another reason
	Truncated         Status = "truncated"          // the reply is truncated even over TCP
	Malformed         Status = "malformed"          // the reply cannot be parsed
	UnrelatedAnswer   Status = "unrelated_answer"   // the reply belongs to another query
)

// The reply exceeds a limit. The last two of these are permanent: a retry would not change the result.
const (
	AliasLoop      Status = "alias_loop"
	TooManyAliases Status = "too_many_aliases"
	TooManyRecords Status = "too_many_records" // more than maxRecords
	TooMuchText    Status = "too_much_text"    // more than maxText bytes of TXT records
)

// The lookup was not made.
const (
	NoSlot        Status = "no_slot"        // too many concurrent lookups
	NoDescriptor  Status = "no_descriptor"  // this process or host has no free file descriptor
	NoSocket      Status = "no_socket"      // this host has no free port or memory for a socket
	NoServer      Status = "no_server"      // no name server is configured
	Limit         Status = "limit"          // the message reached its limit of lookups: OverLimit
	NotLookedUp   Status = "not_looked_up"  // the view sends no queries: View.Known, Recall
	InvalidName   Status = "invalid_name"   // the name or address is not valid; counts as a name that does not exist
	InternalError Status = "internal_error" // a defect of Signpost
	Forgotten     Status = "forgotten"      // occurs only in a Lookup: the journal no longer has the answer
)

// Statuses returns all statuses that have a constant. Other RCODEs are missing.
func Statuses() []Status {
	return []Status{NoError, NXDomain, NoData, FormErr, ServFail, NotImp, Refused, Timeout, ConnectionRefused, ConnectionClosed, Unreachable,
		Truncated, Malformed, UnrelatedAnswer, AliasLoop, TooManyAliases, TooManyRecords, TooMuchText, NoSlot, NoDescriptor, NoSocket,
		NoServer, Limit, NotLookedUp, InvalidName, InternalError, Forgotten}
}

// Words returns the status with spaces instead of underscores.
func (s Status) Words() string { return strings.ReplaceAll(string(s), "_", " ") }

// notFound reports whether s means that there is no such record.
func (s Status) notFound() bool { return s == NXDomain || s == NoData || s == InvalidName }

// temporary reports whether a repeated lookup may succeed.
func (s Status) temporary() bool {
	return s != NoError && !s.notFound() && s != TooManyRecords && s != TooMuchText
}

// lack reports whether s is a lack of resources on this host, not a DNS failure.
func (s Status) lack() bool { return s == NoSlot || s == NoDescriptor || s == NoSocket }

// rcodeStatus returns the Status of a reply that has no answer.
func rcodeStatus(rcode int) Status {
	if name, ok := dns.RcodeToString[rcode]; ok {
		return Status(name)
	}
	return Status(fmt.Sprintf("RCODE%d", rcode))
}

// queryError is the error of a query without an answer.
type queryError struct {
	status Status
	cause  error // may be nil
}

// Error returns the status as a phrase. It adds the cause if the cause contains more information. It contains no addresses.
func (f *queryError) Error() string {
	if f.cause == nil || f.status == ConnectionRefused || f.status == ConnectionClosed {
		return f.status.Words()
	}
	return f.status.Words() + ": " + f.cause.Error()
}

func (f *queryError) Unwrap() error { return f.cause }

// queryErrorOf returns the queryError of a query that ended with an error.
func queryErrorOf(err error) *queryError {
	var known *queryError
	if errors.As(err, &known) {
		return known
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // without the addresses
	}
	is := func(all ...error) bool {
		return slices.ContainsFunc(all, func(e error) bool { return errors.Is(err, e) })
	}
	switch {
	case is(syscall.EMFILE, syscall.ENFILE):
		return &queryError{NoDescriptor, err}
	case isLack(err):
		return &queryError{NoSocket, err}
	case is(context.Canceled, context.DeadlineExceeded, os.ErrDeadlineExceeded):
		return &queryError{status: Timeout}
	case is(syscall.ECONNREFUSED):
		return &queryError{status: ConnectionRefused, cause: err}
	case is(syscall.ECONNRESET, io.EOF, io.ErrUnexpectedEOF):
		return &queryError{status: ConnectionClosed, cause: err}
	}
	return &queryError{Unreachable, err}
}

// isLack reports whether err means that this host lacks file descriptors, ports or memory, so that no query was sent. connect(2) returns
// EAGAIN for UDP when all local ports are in use.
func isLack(err error) bool {
	for _, lack := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL, syscall.EAGAIN} {
		if errors.Is(err, lack) {
			return true
		}
	}
	return false
}
