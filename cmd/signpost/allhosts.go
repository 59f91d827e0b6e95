package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"signpost/internal/cli"
	"signpost/internal/cluster/control"
	"signpost/internal/cluster/messages"
	"signpost/internal/config"
	"signpost/internal/explain"
	"signpost/internal/journal"
	"signpost/internal/term"
)

// maxAllHosts is the maximum of -n with --all-hosts. The messages are kept in memory, because the database returns the newest first.
const maxAllHosts = 10_000

// onlyFailed is the note about what a search of all hosts does not find.
const onlyFailed = "of other hosts, the database has only messages that failed or were acted upon (cluster.ship); run this command on a host to search all of its messages"

// errNoCluster is why a host cannot search the messages of all hosts.
var errNoCluster = errors.New("cluster.database is not set, so this host does not belong to a cluster\nhint: docs/cluster.md")

// clusterOf returns the client of the cluster. The error is errNoCluster if this host does not belong to one.
func clusterOf(conf *config.Config) (control.Client, error) {
	if !conf.Clustered() {
		return control.Client{}, errNoCluster
	}
	return control.Client{Socket: conf.Cluster.Socket}, nil
}

// onlyLocal reports why the messages of this host only are searched.
func onlyLocal(stderr io.Writer, err error) {
	cause, hint, _ := strings.Cut(err.Error(), "\n")
	fmt.Fprintf(stderr, "signpost: only the messages of this host are searched: %s\n", term.Printable(cause))
	if hint != "" {
		fmt.Fprintln(stderr, term.PrintableLines(hint))
	}
}

// omitted reports rows of the database that cannot be used.
func omitted(stderr io.Writer, a messages.Answer) {
	if text := a.Omitted(); text != "" {
		fmt.Fprintf(stderr, "signpost: %s\nhint: docs/cluster.md, \"Messages of all hosts\"\n", text)
	}
}

// listAllHosts lists messages of all hosts. It returns listed = false if it reported that only the messages of this host can be listed.
func listAllHosts(ctx context.Context, conf *config.Config, o logOptions, f journal.Filter, stdout, stderr io.Writer) (listed bool, err error) {
	search := messages.Search{Query: o.query, Since: f.Since, Before: f.Before}
	if _, err := search.Filter(); err != nil {
		return false, flagError(err)
	}
	client, err := clusterOf(conf)
	var a messages.Answer
	if err == nil {
		a, err = messages.Newest(ctx, client, search, o.most)
	}
	if err != nil {
		if ctx.Err() == nil {
			onlyLocal(stderr, err)
		}
		return false, ctx.Err()
	}
	slices.Reverse(a.Messages)
	switch {
	case o.csv:
		if err := explain.NewCSV(stdout, true).Write(a.Messages); err != nil {
			return true, err
		}
	case o.json:
		for i := range a.Messages {
			if err := term.WriteJSONLine(stdout, &a.Messages[i]); err != nil {
				return true, err
			}
		}
	default:
		columns, _ := term.Size(stdout)
		if err := explain.WriteHosts(stdout, columns, a.Messages); err != nil {
			return true, err
		}
	}
	if omitted(stderr, a); len(a.Messages) == 0 {
		fmt.Fprintf(stderr, "signpost: no messages found: %s\n", onlyFailed)
	}
	return true, nil
}

// explainAllHosts explains the messages with an ID on all hosts, and the messages with the same Message-IDs: another host may have received
// or sent on the same message.
func explainAllHosts(ctx context.Context, conf *config.Config, id string, asJSON bool, stdout, stderr io.Writer) error {
	client, err := clusterOf(conf)
	if err != nil {
		onlyLocal(stderr, err)
		return explainID(ctx, conf, id, asJSON, stdout)
	}
	r, err := readJournal(conf)
	if err == nil {
		defer r.Close()
	} else if !errors.Is(err, journal.ErrNone) {
		return err
	}
	name, err := conf.ClusterName()
	if err != nil {
		return cli.Usage(err)
	}
	a := &allHosts{client: client, name: name, journal: r}
	if err := a.find(ctx, id); err != nil {
		return err
	}
	for _, mid := range a.messageIDs() {
		if err := a.find(ctx, mid); err != nil {
			return err
		}
	}
	if a.down != nil {
		onlyLocal(stderr, a.down)
	}
	omitted(stderr, a.remote)
	groups := messages.Group(a.found)
	if len(groups) == 0 {
		return fmt.Errorf("no message has the ID %s in the journal of this host or in the database\nhint: %s", term.Printable(id), onlyFailed)
	}
	if asJSON {
		return term.WriteJSON(stdout, slices.Concat(groups...))
	}
	for i, parts := range groups {
		if i > 0 {
			fmt.Fprintln(stdout)
		}
		if len(groups) > 1 {
			fmt.Fprintf(stdout, "%d of %d messages with this ID, the newest first\n\n", i+1, len(groups))
		}
		explain.WriteParts(stdout, parts)
	}
	if a.down == nil {
		fmt.Fprintf(stderr, "signpost: other hosts may have handled this message too: %s\n", onlyFailed)
	}
	return nil
}

// allHosts searches the journal of this host and the database.
type allHosts struct {
	client  control.Client
	name    string          // of this host
	journal *journal.Reader // nil: there is no journal
	found   []messages.Message
	remote  messages.Answer // the omitted rows
	down    error           // why the database cannot be searched
}

// find adds the messages with an ID.
func (a *allHosts) find(ctx context.Context, id string) error {
	if a.journal != nil {
		entries, err := a.journal.Find(ctx, id)
		if err != nil && len(entries) == 0 {
			return err
		}
		for _, e := range entries {
			a.found = append(a.found, messages.Message{Host: a.name, Entry: e})
		}
	}
	if a.down != nil {
		return nil
	}
	answer, err := messages.Find(ctx, a.client, id)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	a.down = err
	a.found = append(a.found, answer.Messages...)
	a.remote.Refused, a.remote.Unknown, a.remote.Later = a.remote.Refused+answer.Refused, a.remote.Unknown+answer.Unknown, a.remote.Later+answer.Later
	return nil
}

// maxParts limits the Message-IDs whose other parts are searched.
const maxParts = 10

// messageIDs returns the Message-IDs of the messages that were found.
func (a *allHosts) messageIDs() (all []string) {
	for _, m := range a.found {
		if m.MessageID != "" && !slices.Contains(all, m.MessageID) && len(all) < maxParts {
			all = append(all, m.MessageID)
		}
	}
	return all
}
