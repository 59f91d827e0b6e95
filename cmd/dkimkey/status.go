package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/domain"
	"signpost/internal/report/seen"
	"signpost/internal/setup"
	"signpost/internal/term"
	"signpost/keys"
)

// timeFormat is the format of times in text output, in UTC.
const timeFormat = "2006-01-02 15:04"

func (e *env) statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "status [DOMAIN...]",
		Short: "Show all keys, their state and the action needed",
		Long: `Show all keys, or the keys of the given domains, with their state and next step. State "active (unsafe)" means that
--unsafe-activate activated the key and that its record has not been found in DNS since.

If this host receives DMARC reports (reports.receive.addresses), a second table shows what receivers reported about the mail of
the last 30 days that was signed with each key. Nothing in a report changes a key.

Exit code 0: nothing to do. 1: action needed; standard error has one line for each key or domain. 2: usage or configuration
error.`,
		Example: "  dkimkey status\n  dkimkey status example.org --json",
		RunE:    func(c *cobra.Command, args []string) error { return e.status(c, args) },
	}
	c.Flags().BoolVar(&e.json, "json", false, "print JSON")
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
	Since      time.Time  `json:"since,omitzero"`
	Unsafe     bool       `json:"unsafe_activated"`
	Unmanaged  bool       `json:"unmanaged"`
	RecordName string     `json:"record_name"`
	Next       string     `json:"next"`
	Error      string     `json:"error,omitempty"`
	// ActionNeeded states what the operator must do. It is empty if no action is needed.
	ActionNeeded string    `json:"action_needed,omitempty"`
	Reported     *reported `json:"reported,omitempty"`
	unseen       bool
}

func (e *env) status(c *cobra.Command, args []string) error {
	conf, store, err := e.open()
	if err != nil {
		return err
	}
	set, err := store.Load(nil)
	if err != nil {
		return err
	}
	known, err := store.Hosted()
	if err != nil {
		return err
	}
	for i, arg := range args {
		if args[i], err = domain.ParseArgument(arg); err != nil {
			return cli.Usage(err)
		}
		if !known[args[i]] && !slices.Contains(set.Known(), args[i]) {
			return fmt.Errorf("status: %s: no such domain\nhint: dkimkey status shows all domains with keys", args[i])
		}
	}
	receivers, err := seen.Load(conf.StateDir, e.now())
	if err != nil {
		cli.Print(c.ErrOrStderr(), "dkimkey: warning", err)
	}
	wanted := func(domain string) bool { return len(args) == 0 || slices.Contains(args, domain) }
	all := []keyStatus{}
	var actions []string
	hint := ""
	for _, k := range set.Status(setup.KeyRules(conf), e.now()) {
		if !wanted(k.Domain) {
			continue
		}
		if k.Unusable() {
			k.Next, k.Action = unusable(k)
			hint = cmp.Or(hint, cli.Hint(k.Err))
		}
		of := k.Domain
		if k.Selector != "" { // empty if the directory of the domain cannot be used
			of += ": key " + k.Selector
		}
		failing := failing(receivers, k, e.now())
		for _, action := range []string{k.Action, failing} {
			if action != "" {
				actions = append(actions, of+": "+action)
			}
		}
		k.Action = cmp.Or(k.Action, failing)
		all = append(all, describe(k, receivers, e.now()))
	}
	for _, domain := range set.Unsigned(known) {
		if !wanted(domain) {
			continue
		}
		action := "no active key for a hosted domain: sign.on_missing_key applies to its mail; " + keys.Remedy(domain, set.Of(domain))
		actions = append(actions, domain+": "+action)
		if e.json { // only JSON lists a domain without keys; the table has no row for it
			all = append(all, keyStatus{Domain: domain, ActionNeeded: action})
		}
	}
	for _, path := range set.Misplaced() {
		if len(args) > 0 {
			break
		}
		actions = append(actions, path+": key file is outside of a domain's directory and is not used; move it to "+filepath.Join(conf.KeysDir(), "DOMAIN", "SELECTOR.pem"))
	}
	if e.json {
		err = term.WriteJSON(c.OutOrStdout(), all)
	} else {
		err = errors.Join(printStatus(c.OutOrStdout(), all), printReported(c.OutOrStdout(), all, receivers))
	}
	if err != nil {
		return err
	}
	for _, action := range actions {
		fmt.Fprintln(c.ErrOrStderr(), term.Printable(action))
	}
	if hint != "" {
		fmt.Fprintf(c.ErrOrStderr(), "hint: %s\n", term.Printable(hint))
	}
	return attention(len(actions) > 0)
}

// unusable returns two texts about a key whose file cannot be used: the next step, and the action that the operator must take.
func unusable(k keys.Status) (next, action string) {
	text := cli.Text(k.Err)
	next = "cannot be used: " + text
	switch {
	case k.Foreign:
		return next, text
	case k.Action == "":
		return next, next
	}
	return next, next + "; " + k.Action
}

func printStatus(out io.Writer, all []keyStatus) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "DOMAIN\tSELECTOR\tALGORITHM\tSTATE\tSINCE\tNEXT")
	for _, s := range all {
		algorithm, state, since := "-", string(s.State), "-"
		if s.Algorithm != "" {
			algorithm = fmt.Sprintf("%s %d", term.Printable(s.Algorithm), s.Bits)
		}
		if s.unseen {
			state += " (unsafe)"
		}
		if !s.Since.IsZero() {
			since = s.Since.UTC().Format(timeFormat)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Domain, cmp.Or(term.Printable(s.Selector), "-"), algorithm, state, since, term.Printable(s.Next))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	// The lines are colored after the columns are aligned, because tabwriter counts escape sequences as text.
	paint := term.Paint(out)
	for i, line := range strings.SplitAfter(b.String(), "\n") {
		if text := strings.TrimSuffix(line, "\n"); i > 0 && i <= len(all) {
			line = colored(paint, all[i-1], text) + "\n"
		}
		if _, err := io.WriteString(term.Raw(out), line); err != nil {
			return err
		}
	}
	return nil
}

func colored(p term.Painter, s keyStatus, line string) string {
	switch {
	case s.Error != "", s.unseen:
		return p.Bad(line)
	case s.Signs:
		return p.Good(line)
	case s.State.Pending():
		return p.Warn(line)
	}
	return p.Past(line)
}

func describe(k keys.Status, receivers *seen.File, now time.Time) keyStatus {
	s := keyStatus{Domain: k.Domain, Selector: k.Selector, Algorithm: k.Algorithm, Bits: k.Bits, State: k.State, Signs: k.Signs, Since: k.Since,
		Unmanaged: k.Metadata == nil, Unsafe: k.Metadata != nil && k.Metadata.Unsafe, RecordName: keys.RecordName(k.Domain, k.Selector), Next: k.Next,
		ActionNeeded: k.Action, Reported: newReported(receivers, k, now), unseen: k.Unseen()}
	if k.Unusable() {
		s.Error = cli.Text(k.Err)
	}
	return s
}
