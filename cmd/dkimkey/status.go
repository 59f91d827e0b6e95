package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

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
	_, store, hosted, err := e.open()
	if err != nil {
		return err
	}
	set, err := keys.Load(store.Dir, nil)
	if err != nil {
		return err
	}
	known, err := hosted.Read()
	if err != nil {
		return err
	}
	all := []keyStatus{}
	signing := map[string]bool{}
	for _, k := range set.All() {
		s := describe(set, k)
		signing[k.Domain] = signing[k.Domain] || s.Signs
		all = append(all, s)
	}
	if asJSON {
		enc := json.NewEncoder(c.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(all)
	}
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "DOMAIN\tSELECTOR\tALGORITHM\tSTATE\tSINCE\tNEXT")
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%s\t%s %d\t%s\t%s\t%s\n", s.Domain, s.Selector, s.Algorithm, s.Bits, s.State, s.Since.UTC().Format("2006-01-02 15:04"), s.Next)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for domain := range known {
		if !signing[domain] {
			fmt.Fprintf(c.ErrOrStderr(), "%s: hosted here and no key can sign: its mail is answered as sign.on_missing_key says\n", domain)
		}
	}
	return nil
}

func describe(set *keys.Set, k *keys.Key) keyStatus {
	s := keyStatus{Domain: k.Domain, Selector: k.Selector, Algorithm: k.Algorithm, Bits: k.Bits, State: k.State, Signs: set.Signs(k),
		Since: k.Since, ByHand: k.Life == nil, Unsafe: k.Life != nil && k.Life.Unsafe, RecordName: keys.RecordName(k.Domain, k.Selector)}
	switch {
	case k.Err != nil:
		s.Error, s.Next = k.Err.Error(), "mend it: "+k.Err.Error()
	case k.State == keys.Generated:
		s.Next = "publish its record, then dkimkey add " + k.Domain + " --unsafe-activate"
	case !s.Signs:
		s.Next = "a newer key signs; keep its record for 14 days"
	case s.ByHand:
		s.Next = "none; put there by hand, signs"
	default:
		s.Next = "none; signs"
	}
	return s
}
