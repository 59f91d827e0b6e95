package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cluster/control"
	"signpost/internal/config"
	"signpost/internal/owner"
	"signpost/internal/setup"
	"signpost/internal/term"
)

func statusCommand(load func() (*config.Config, error)) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the hosts of the cluster, their versions, and what is wrong",
		Long: "Show the hosts of the cluster with their versions, which of them leads, and since when the database can be reached. LAG is the\n" +
			"number of versions that a host is behind the database. CLOCK is the clock of a host minus that of the database, in seconds.\n" +
			"The lines below the hosts count the messages of this host that were copied to the database, that wait, and that the journal\n" +
			"deleted before they were copied; and the DMARC reports about yesterday, with the hosts whose counts are missing.\n\n" +
			"Exit code 0: nothing to do. 1: action needed; standard error has one line for each problem. 2: usage or configuration error.",
		Example: "  signpost-cluster status\n  signpost-cluster status --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := load()
			if err != nil {
				return err
			}
			s, err := readStatus(c.Context(), conf)
			if err == nil && asJSON {
				err = term.WriteJSON(c.OutOrStdout(), s)
			} else if err == nil {
				err = showStatus(c.OutOrStdout(), s)
			}
			if refusal := (*control.Refusal)(nil); errors.As(err, &refusal) {
				return err
			}
			concerns := control.Concerns(s, err, time.Now())
			for _, concern := range concerns {
				fmt.Fprintf(c.ErrOrStderr(), "signpost-cluster: %s\nhint: %s\n", concern.What, concern.Fix)
			}
			if len(concerns) > 0 {
				return errAttention
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// readStatus returns the state that the running process has, or else the one that it wrote last.
func readStatus(ctx context.Context, conf *config.Config) (s control.Status, err error) {
	if client := (control.Client{Socket: conf.Cluster.Socket}); client.Runs(ctx) {
		return client.Status(ctx)
	}
	file := setup.ClusterStatus(conf)
	back, err := owner.Act(file)
	if err != nil {
		return s, err
	}
	s, err = control.ReadStatus(file)
	return s, errors.Join(err, back())
}

func showStatus(w io.Writer, s control.Status) error {
	reachable := "not reachable since"
	if s.Database.Reachable {
		reachable = "reachable since"
	}
	at := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return t.UTC().Format("2006-01-02 15:04:05")
	}
	leader := s.Leader
	if leader == "" {
		leader = "none"
	}
	fmt.Fprintf(w, "cluster %s, version %d, leader %s, site keys %v\ndatabase %s %s UTC\n\n", s.Site, s.Database.Version, leader, s.KeyIDs, reachable, at(s.Database.Since))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "HOST\tVERSION\tLAG\tSYNCHRONIZED (UTC)\tCLOCK\tPROGRAM")
	for _, h := range s.Hosts {
		name := h.Name
		if name == s.Host {
			name += " (this host)"
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%s\n", name, h.Version, h.Lag, at(h.Seen), strconv.FormatFloat(float64(h.ClockMS)/1000, 'f', 1, 64), h.Program)
	}
	if m := s.Messages; m != nil {
		fmt.Fprintf(t, "\nmessages of this host in the database: %d copied, %d wait", m.Shipped, m.Waiting)
		if !m.Since.IsZero() {
			fmt.Fprintf(t, " (the oldest since %s UTC)", at(m.Since))
		}
		fmt.Fprintf(t, ", %d lost; all hosts: %d MiB\n", m.Lost, m.Bytes>>20)
	}
	if err := t.Flush(); err != nil || s.Reports == nil {
		return err
	}
	fmt.Fprintf(w, "\nDMARC reports about %s: %d", s.Reports.Day, s.Reports.Made)
	if len(s.Reports.Late) > 0 {
		fmt.Fprintf(w, "; counts are missing from %s", strings.Join(s.Reports.Late, ", "))
	}
	_, err := fmt.Fprintln(w)
	return err
}
