package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/cluster"
	"signpost/internal/cluster/control"
	"signpost/internal/cluster/messages"
	"signpost/internal/config"
	"signpost/internal/durable"
	"signpost/internal/setup"
	"signpost/milter"
)

func runCommand(load func() (*config.Config, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Synchronize this host with the database, in the foreground",
		Long: "Synchronize the keys and rules of this host with the database every five seconds, in the foreground. Copy the messages of the\n" +
			"journal that failed or were acted upon to the database (cluster.ship), and answer searches of all hosts. The unit\n" +
			"signpost-cluster runs this command as user signpost. If the database is down, the process waits for it; the daemon continues\n" +
			"to sign and verify. SIGTERM stops the process.",
		Example: "  signpost-cluster run",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := load()
			if err != nil {
				return err
			}
			return synchronize(c.Context(), conf, c.ErrOrStderr())
		},
	}
}

const (
	// socketMode is the mode of the control socket. Its clients are root and the owner of the keys. Group signpost has no access, because
	// signpost-tables is in it, and could remove hosts from the cluster.
	socketMode = 0o600
	// headerTimeout is the time that a client of the control socket may take for the header of a request.
	headerTimeout = 10 * time.Second
	// stopTimeout is the time that requests have to complete when the process stops.
	stopTimeout = 10 * time.Second
)

// synchronize runs the synchronization and the control socket until ctx ends.
func synchronize(ctx context.Context, conf *config.Config, stderr io.Writer) error {
	var level slog.LevelVar
	log, err := setup.Logger(conf.Log, &level, stderr)
	if err != nil {
		return cli.Usage(err)
	}
	h, db, err := open(conf, conf.Cluster.Database, log)
	if err != nil {
		return err
	}
	defer db.Close()
	if h.Copies, err = cluster.Open(string(conf.Cluster.Database)); err != nil {
		return cli.Usage(err)
	}
	defer h.Copies.Close()
	if err := setup.KeyStore(conf).MakeState(filepath.Base(conf.ClusterDir())); err != nil {
		return err
	}
	ln, err := milter.Listen("unix", conf.Cluster.Socket, socketMode, "")
	if err != nil {
		return cli.Usage(fmt.Errorf("cluster.socket: %w", err))
	}
	reader := &cluster.Reader{Host: h, Keep: conf.CopiesKept()}
	server := &http.Server{ReadHeaderTimeout: headerTimeout, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		Handler: control.Server{Lease: h.Lease, Lead: h.Lead, Missing: h.Missing, Sync: h.Sync, Status: h.Status, Items: h.Items(),
			Forget:   reader.Forget,
			Messages: func(ctx context.Context, query url.Values) (any, error) { return list(ctx, reader, query) },
			Message:  func(ctx context.Context, query url.Values) (any, error) { return find(ctx, reader, query) },
			Command: func(ctx context.Context, name, host string) ([]byte, error) {
				result, err := perform(ctx, h, name, host)
				if err != nil {
					return nil, err
				}
				_ = h.Sync(ctx) // so that status shows the result; the next poll logs an error
				return json.Marshal(result)
			}}.Handler()}
	served := make(chan error, 1)
	var serving sync.WaitGroup
	serving.Go(func() { served <- server.Serve(ln) })
	log.Info("cluster synchronization started", "host", h.Name, "database", conf.Cluster.Database.String(), "socket", conf.Cluster.Socket)
	if err := setup.Notify(setup.NotifySocket(), "READY=1"); err != nil {
		log.Warn("notifying the service manager failed", "error", err)
	}
	shipper := &cluster.Shipper{Host: h, Keep: conf.CopiesKept()}
	if conf.Cluster.Ship == "failed" && conf.Journal.Enabled {
		shipper.Journal = conf.JournalFile()
	}
	copying, stop := context.WithCancel(ctx)
	serving.Go(func() { ship(copying, shipper) })
	p := &poller{host: h, file: setup.ClusterStatus(conf), state: conf.StateDir, log: log}
	for tick := time.NewTicker(cluster.Poll); ; {
		p.poll(ctx)
		select {
		case <-tick.C:
			continue
		case err = <-served:
		case <-ctx.Done():
			err = nil
		}
		tick.Stop()
		break
	}
	log.Info("cluster synchronization is stopping")
	stop()
	ending, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if stopped := server.Shutdown(ending); stopped != nil {
		server.Close()
	}
	serving.Wait()
	return err
}

// ship copies messages until ctx ends. It is a loop of its own, so that a backlog does not delay keys and rules.
func ship(ctx context.Context, s *cluster.Shipper) {
	for {
		pause := cluster.Poll
		if s.Ship(ctx) {
			pause = cluster.ShipPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// list answers a search of the messages of all hosts.
func list(ctx context.Context, r *cluster.Reader, query url.Values) (any, error) {
	search, err := messages.Parse(query)
	if err != nil {
		return nil, err
	}
	return r.List(ctx, search)
}

// find answers a search for the messages with an ID, or for one message.
func find(ctx context.Context, r *cluster.Reader, query url.Values) (any, error) {
	if id := query.Get("id"); id != "" {
		return r.Find(ctx, id)
	}
	number, err := strconv.ParseInt(query.Get("number"), 10, 64)
	if err != nil || number < 0 {
		return nil, errors.New("number is not valid")
	}
	return r.Get(ctx, messages.Position{ID: number, Host: query.Get("host")})
}

// poller synchronizes a host at each poll.
type poller struct {
	host        *cluster.Host
	file, state string // the status file and STATE_DIR
	log         *slog.Logger

	fault   string // the error of the last synchronization
	written control.Status
}

// poll synchronizes once, logs a new error or the end of an error, and writes the status file.
func (p *poller) poll(ctx context.Context) {
	err := p.host.Sync(ctx)
	if ctx.Err() != nil {
		return
	}
	fault := ""
	if err != nil {
		fault = err.Error()
	}
	switch {
	case fault == p.fault:
	case err == nil:
		p.log.Info("cluster synchronized again")
	default:
		p.log.Error("cluster not synchronized, this host continues with its own files", "error", err)
	}
	p.fault = fault
	s, err := p.host.Status(ctx)
	if err != nil || s.At.Sub(p.written.At) < control.WrittenEvery && s.At.After(p.written.At) && same(s, p.written) {
		return
	}
	text, err := json.Marshal(s)
	if err == nil {
		err = durable.Tree{p.state}.Write(p.file, text, p.state, 0o600)
	}
	if err != nil {
		p.log.Error("the state of the cluster cannot be saved", "error", err)
		return
	}
	p.written = s
}

// same reports whether two states differ only in values that change at each poll.
func same(a, b control.Status) bool {
	steady := func(s control.Status) control.Status {
		s.At, s.LeaseLeft, s.Messages, s.Hosts = time.Time{}, 0, nil, slices.Clone(s.Hosts)
		for i := range s.Hosts {
			s.Hosts[i].Seen, s.Hosts[i].ClockMS = time.Time{}, 0
		}
		return s
	}
	return reflect.DeepEqual(steady(a), steady(b))
}
