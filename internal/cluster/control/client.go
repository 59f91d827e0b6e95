package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// Client sends requests to the control socket.
type Client struct {
	Socket string // a path
}

const (
	// answerTimeout is the timeout of a request. A synchronization may wait for the database.
	answerTimeout = 30 * time.Second
	// leadTimeout is how long Lead waits for another host to hand over the lease. A dead host loses the lease after a minute.
	leadTimeout = 75 * time.Second
)

// ErrUnreachable is the error if "signpost cluster run" does not answer.
var ErrUnreachable = errors.New("signpost cluster run does not answer")

// Refusal is the error of a request that the cluster process answered with a Failure.
type Refusal struct{ Failure }

func (r *Refusal) Error() string {
	if r.Hint == "" {
		return r.Failure.Error
	}
	return r.Failure.Error + "\nhint: " + r.Hint
}

// Lease returns the state of the lease.
func (c Client) Lease(ctx context.Context) (l Lease, err error) {
	return l, c.ask(ctx, http.MethodGet, PathLease, nil, &l, answerTimeout)
}

// Lead takes over the lease, if another host holds it, and synchronizes the keys of this host.
func (c Client) Lead(ctx context.Context) (l Lease, err error) {
	query := url.Values{"wait_ms": {strconv.FormatInt(leadTimeout.Milliseconds(), 10)}}
	return l, c.ask(ctx, http.MethodPost, PathLead, query, &l, leadTimeout+answerTimeout)
}

// Missing returns the hosts for which a step of a key must wait.
func (c Client) Missing(ctx context.Context, domain, selector string, purpose Purpose) ([]Behind, error) {
	var m Missing
	query := url.Values{"domain": {domain}, "selector": {selector}, "for": {string(purpose)}}
	return m.Hosts, c.ask(ctx, http.MethodGet, PathMissing, query, &m, answerTimeout)
}

// Sync synchronizes this host with the database now.
func (c Client) Sync(ctx context.Context) error {
	return c.ask(ctx, http.MethodPost, PathSync, nil, &struct{}{}, answerTimeout)
}

// Messages stores the answer to PathMessages in answer. Package messages has the types.
func (c Client) Messages(ctx context.Context, query url.Values, answer any) error {
	return c.ask(ctx, http.MethodGet, PathMessages, query, answer, answerTimeout)
}

// Message is like Messages, for PathMessage.
func (c Client) Message(ctx context.Context, query url.Values, answer any) error {
	return c.ask(ctx, http.MethodGet, PathMessage, query, answer, answerTimeout)
}

// Status returns the state of the cluster.
func (c Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.ask(ctx, http.MethodGet, PathStatus, nil, &s, answerTimeout)
}

func (c Client) ask(ctx context.Context, method, path string, query url.Values, answer any, timeout time.Duration) error {
	return c.send(ctx, method, path, query, nil, answer, timeout)
}

// send sends a request with a body, or without one if body is nil.
func (c Client) send(ctx context.Context, method, path string, query url.Values, body io.Reader, answer any, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
	}
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	request, err := http.NewRequestWithContext(ctx, method, "http://cluster"+path+"?"+query.Encode(), body)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return c.unreachable(err)
	}
	defer response.Body.Close()
	decode := json.NewDecoder(response.Body)
	if response.StatusCode == http.StatusOK {
		err = decode.Decode(answer)
	} else {
		var refusal Refusal
		if err = decode.Decode(&refusal.Failure); err == nil {
			return &refusal
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %s sent a reply that is not valid", ErrUnreachable, c.Socket)
	}
	return nil
}

// unreachable returns the error of a request that got no reply.
func (c Client) unreachable(err error) error {
	why, hint := "no reply", "journalctl -u signpost-cluster"
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		why, hint = "not running", "systemctl start signpost-cluster"
	case errors.Is(err, fs.ErrPermission):
		why, hint = "permission denied", "run the command as root, or as the user of signpost-cluster"
	case errors.Is(err, context.DeadlineExceeded):
		why = "timeout"
	case errors.Is(err, context.Canceled):
		return context.Canceled
	}
	return fmt.Errorf("%w at %s: %s\nhint: %s", ErrUnreachable, c.Socket, why, hint)
}
