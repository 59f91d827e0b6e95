package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/keys"
)

func (e *env) statusCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show all keys: what signs, what waits, what is wrong",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return e.status(c, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print for machines")
	return c
}

// keyStatus is a key in `status --json`.
type keyStatus struct {
	Domain     string     `json:"domain"`
	Selector   string     `json:"selector"`
	Algorithm  string     `json:"algorithm,omitempty"`
	Bits       int        `json:"bits,omitempty"`
	State      keys.State `json:"state"`
	Signs      bool       `json:"signs"`
	Since      time.Time  `json:"since"`
	Unsafe     bool       `json:"unsafe_activated"`
	ByHand     bool       `json:"by_hand"`
	RecordName string     `json:"record_name"`
	Next       string     `json:"next"`
	Error      string     `json:"error,omitempty"`
}

func (e *env) status(c *cobra.Command, asJSON bool) error {
	conf, store, err := e.open()
	if err != nil {
		return err
	}
	d := &desk{conf: conf, store: store}
	set, err := store.Load(nil)
	if err != nil {
		return err
	}
	known, err := store.Hosted()
	if err != nil {
		return err
	}
	all := []keyStatus{}
	signing := map[string]bool{}
	for _, k := range set.Status(d.rules, e.now()) {
		signing[k.Domain] = signing[k.Domain] || k.Signs
		all = append(all, describe(k))
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), all)
	}
	if err := printStatus(c.OutOrStdout(), all); err != nil {
		return err
	}
	for _, domain := range slices.Sorted(maps.Keys(known)) {
		if !signing[domain] {
			fmt.Fprintf(c.ErrOrStderr(), "%s: hosted here and no key can sign: its mail is answered as sign.on_missing_key says\n", domain)
		}
	}
	return nil
}

func printStatus(out io.Writer, all []keyStatus) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "DOMAIN\tSELECTOR\tALGORITHM\tSTATE\tSINCE\tNEXT")
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%s\t%s %d\t%s\t%s\t%s\n", s.Domain, s.Selector, cli.Printable(s.Algorithm), s.Bits, s.State, s.Since.UTC().Format("2006-01-02 15:04"), cli.Printable(s.Next))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	// Coloured by lines, when the columns are made: escapes have no width.
	paint := cli.Paint(out)
	for i, line := range strings.SplitAfter(b.String(), "\n") {
		if text := strings.TrimSuffix(line, "\n"); i > 0 && i <= len(all) {
			line = colour(paint, all[i-1], text) + "\n"
		}
		if _, err := io.WriteString(cli.Raw(out), line); err != nil {
			return err
		}
	}
	return nil
}

func colour(p cli.Painter, s keyStatus, line string) string {
	switch {
	case s.Error != "":
		return p.Bad(line)
	case s.Signs:
		return p.Good(line)
	case s.State == keys.Generated || s.State == keys.Published || s.State == keys.Verified:
		return p.Middling(line)
	}
	return p.Past(line)
}

func describe(k keys.Status) keyStatus {
	s := keyStatus{Domain: k.Domain, Selector: k.Selector, Algorithm: k.Algorithm, Bits: k.Bits, State: k.State, Signs: k.Signs, Since: k.Since,
		ByHand: k.Life == nil, Unsafe: k.Life != nil && k.Life.Unsafe, RecordName: keys.RecordName(k.Domain, k.Selector), Next: k.Next}
	if k.Err != nil && !k.Elsewhere {
		s.Error = k.Err.Error()
	}
	return s
}
