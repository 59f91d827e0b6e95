package control

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// PathCommand is for POST, with the parameters name and host. PathForget is for POST, with the parameters form, which is repeated, and
// dry_run.
const (
	PathCommand = "/command"
	PathForget  = "/forget"
)

// commandTimeout is the timeout of a command, which may write all rows.
const commandTimeout = 10 * time.Minute

// Runs reports whether "signpost cluster run" is running: whether a process accepts connections at the socket.
func (c Client) Runs(ctx context.Context) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.Socket)
	if err != nil {
		return errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EAGAIN) // the request then returns the error
	}
	conn.Close()
	return true
}

// Command makes the process run a command of signpost-cluster, and stores the result in answer.
func (c Client) Command(ctx context.Context, name, host string, answer any) error {
	return c.ask(ctx, http.MethodPost, PathCommand, url.Values{"name": {name}, "host": {host}}, answer, commandTimeout)
}

// Forgotten is the answer to PathForget.
type Forgotten struct {
	Copies int `json:"copies"`
}

// Forget deletes the copies of messages in the database that mention an address. The forms are those of journal.Reader.Forms. If dryRun is
// set, Forget deletes nothing. It returns the number of these copies.
func (c Client) Forget(ctx context.Context, forms []string, dryRun bool) (copies int, err error) {
	query := url.Values{"form": forms}
	if dryRun {
		query.Set("dry_run", "1")
	}
	var f Forgotten
	err = c.ask(ctx, http.MethodPost, PathForget, query, &f, commandTimeout)
	return f.Copies, err
}

// command answers a request of Client.Command.
func (s Server) command(r *http.Request) (any, error) {
	if s.Command == nil {
		return nil, badRequest("no commands are available")
	}
	text, err := s.Command(r.Context(), r.FormValue("name"), strings.ToLower(r.FormValue("host")))
	return json.RawMessage(text), err
}
