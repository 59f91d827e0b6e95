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

// PathCommand is for POST, with the parameters name and host.
const PathCommand = "/command"

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

// command answers a request of Client.Command.
func (s Server) command(r *http.Request) (any, error) {
	if s.Command == nil {
		return nil, badRequest("no commands are available")
	}
	text, err := s.Command(r.Context(), r.FormValue("name"), strings.ToLower(r.FormValue("host")))
	return json.RawMessage(text), err
}
