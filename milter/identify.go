package milter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/emersion/go-milter"
)

// ErrAnother is the error of Identify if a milter other than Signpost answers.
var ErrAnother = errors.New("it is another milter")

// Postfix offers all SMFIF_* and all SMFIP_* flags. The former include needActions, the latter needEvents.
const (
	allActions = milter.OptAction(0x1ff)
	allEvents  = milter.OptProtocol(0x1fffff)
)

// Identify connects to a milter socket, negotiates as Postfix does, and closes the connection. It returns nil if Signpost answers before
// ctx ends, and ErrAnother if another milter does. It recognizes Signpost by the options that the server requests. network is "tcp" or
// "unix". Identify uses the client of go-milter. If it used code of this package, client and server could have the same mistakes.
func Identify(ctx context.Context, network, address string) error {
	d := &dialer{ctx: ctx}
	s, err := milter.NewClientWithOptions(network, address, milter.ClientOptions{Dialer: d, ActionMask: allActions, ProtocolMask: allEvents}).Session()
	if d.Conn == nil {
		return d.err
	}
	defer d.Close() // if the negotiation fails, the client does not close the connection
	switch {
	case errors.Is(err, milter.ErrUnsupportedMilterVersion):
		return ErrAnother
	case readFailed(err):
		return fmt.Errorf("it does not answer as a milter does: %w", cmp.Or(d.err, errors.Unwrap(err)))
	case err != nil:
		return errors.New("it does not answer as a milter does")
	case uint32(s.ActionOpts) != needActions || uint32(s.ProtocolOpts) != needEvents:
		return ErrAnother
	}
	return nil
}

// readFailed reports whether err means that reading the answer failed. It returns false if an answer was read but is wrong.
func readFailed(err error) bool {
	var failed net.Error
	return errors.As(err, &failed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// dialer dials one connection. Reads and writes fail after ctx ends. A server may send its answer and close the connection before it
// reads the client's offer. Writing the offer then fails, but the answer still identifies the server. So Write returns no error. Write
// and Dial store their error in err.
type dialer struct {
	ctx context.Context
	net.Conn
	err error
}

func (d *dialer) Dial(network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(d.ctx, network, address)
	if err != nil {
		d.err = err
		return nil, err
	}
	d.Conn = c
	context.AfterFunc(d.ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	return d, nil
}

func (d *dialer) Write(b []byte) (int, error) {
	_, d.err = d.Conn.Write(b)
	return len(b), nil
}
