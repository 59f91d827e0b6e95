package publish

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// updateError is the error of an UPDATE that the server answered with an error code. An attacker may have sent an unsigned answer, so it is
// used only for the text of the error (RFC 8945 section 5.3.2).
type updateError struct {
	Update
	zone, name string
	rcode      int
	tsig       uint16 // the TSIG error of a NOTAUTH answer: RFC 8945 section 3
	offset     int64  // BADTIME: the server's clock minus ours, in seconds
	knowsKey   bool   // NOTAUTH: the answer has a TSIG without an error; the library does not verify it
	signed     bool   // the answer's signature verifies
}

func newUpdateError(p Update, zone, name string, sent time.Time, reply *dns.Msg, signed bool) *updateError {
	e := &updateError{Update: p, zone: strings.TrimSuffix(zone, "."), name: strings.TrimSuffix(name, "."), rcode: reply.Rcode, signed: signed}
	t := reply.IsTsig()
	if t == nil || reply.Rcode != dns.RcodeNotAuth {
		return e
	}
	e.tsig, e.knowsKey = t.Error, t.Error == dns.RcodeSuccess
	// RFC 8945 section 5.2.3: the server's time in 48 bits.
	const timeBytes = 6
	if clock, err := hex.DecodeString(t.OtherData); err == nil && len(clock) == timeBytes && e.tsig == dns.RcodeBadTime {
		for _, b := range clock {
			e.offset = e.offset<<8 | int64(b)
		}
		e.offset -= sent.Unix()
	}
	return e
}

func (e *updateError) Error() string {
	what, hint := e.explain()
	answer := rcodeName(e.rcode)
	if e.tsig != 0 {
		answer += " (" + rcodeName(int(e.tsig)) + ")"
	}
	return fmt.Sprintf("server %s, zone %s: answer %s: %s\nhint: %s", e.Server, e.zone, answer, what, hint)
}

// explain returns what the server's answer means and what to check.
func (e *updateError) explain() (what, hint string) {
	switch int(e.tsig) {
	case dns.RcodeBadSig:
		return fmt.Sprintf("the server has another secret for TSIG key %q", e.TSIGName),
			"compare publish.tsig_secret_file with the secret in the server's key clause (named.conf)"
	case dns.RcodeBadKey:
		return fmt.Sprintf("the server has no TSIG key %q with algorithm %s", e.TSIGName, e.Algorithm),
			"compare publish.tsig_name and publish.tsig_algorithm with the server's key clause (named.conf)"
	case dns.RcodeBadTime:
		return e.clocks(), fmt.Sprintf("set both clocks by NTP; TSIG allows a difference of %d seconds", fudge)
	case dns.RcodeBadTrunc:
		return "the server requires a longer signature", "compare publish.tsig_algorithm with the server's key clause (named.conf)"
	}
	policy := fmt.Sprintf("check update-policy or allow-update of zone %q in the server's named.conf: key %q must be allowed to update TXT at %s, and allow-query must include this host", e.zone, e.TSIGName, e.name)
	primary := fmt.Sprintf("publish.server must be the primary of the zone: zone %q { type primary; } in its named.conf", e.zone)
	switch e.rcode {
	case dns.RcodeNotAuth:
		if !e.knowsKey {
			return "the server does not know the TSIG key, or is not authoritative for the zone", primary + "; compare publish.tsig_name with its key clause"
		}
		return "the server is not authoritative for the zone", primary
	case dns.RcodeRefused:
		return fmt.Sprintf("the server does not allow key %q to update %s", e.TSIGName, e.name), policy
	case dns.RcodeNotZone:
		return fmt.Sprintf("%s is not in that zone on the server", e.name), primary
	case dns.RcodeServerFailure:
		return "the server could not write the zone or its journal", "read the server's log; named needs write permission in the directory of the zone file"
	case dns.RcodeNotImplemented, dns.RcodeFormatError:
		return "the server does not support DNS UPDATE", primary
	case dns.RcodeYXRrset:
		return fmt.Sprintf("%s already has another TXT record", e.name), "query it with dig; remove it, or choose another selector"
	}
	return "the server did not make the change", "read the server's log"
}

func (e *updateError) clocks() string {
	switch {
	case e.offset > 0:
		return fmt.Sprintf("this host's clock is %d seconds behind the server's", e.offset)
	case e.offset < 0:
		return fmt.Sprintf("this host's clock is %d seconds ahead of the server's", -e.offset)
	}
	return "the clocks of this host and of the server differ"
}

func rcodeName(rcode int) string {
	if rcode == dns.RcodeBadSig {
		return "BADSIG" // code 16 means BADSIG in TSIG, and BADVERS elsewhere
	}
	if name := dns.RcodeToString[rcode]; name != "" {
		return name
	}
	return fmt.Sprintf("RCODE %d", rcode)
}

// networkError returns an error that states why the server could not be queried.
func (p Update) networkError(zone string, err error) error {
	what, hint := err.Error(), "check publish.server"
	var errno syscall.Errno
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		what, hint = fmt.Sprintf("timeout after %v (publish.timeout)", p.Timeout), "check publish.server, and that a firewall lets TCP through to it"
	case errors.As(err, &errno):
		what = errno.Error()
		if errno == syscall.ECONNREFUSED {
			hint = "check publish.server, and that the name server runs and listens on TCP there (listen-on in named.conf)"
		}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		what, hint = "the server closed the connection", "read the server's log"
	}
	return fmt.Errorf("server %s, zone %s: %s\nhint: %s", p.Server, strings.TrimSuffix(zone, "."), what, hint)
}
