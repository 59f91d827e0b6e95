package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"signpost/internal/term"
	"signpost/keys"
)

func (e *env) checkCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check [DOMAIN...]",
		Short: "Show each name server's answer for the record of each key",
		Long: "Query the record of each key at every authoritative name server and the resolver, and compare it with the key.\n" +
			"If a record differs, print its text; a long text is truncated.\n\n" +
			"Exit code 0: all servers have the records of the active and retiring keys. Records of other keys do not count.\n" +
			"1: a server has a different record or no record, or does not answer. 2: usage or configuration error.",
		Example: "  dkimkey check\n  dkimkey check example.org",
		RunE:    func(c *cobra.Command, args []string) error { return e.check(c, args) },
	}
	c.Flags().BoolVar(&e.json, "json", false, "print JSON")
	return c
}

// checked is a key in `check --json`.
type checked struct {
	Domain   string     `json:"domain"`
	Selector string     `json:"selector"`
	State    keys.State `json:"state"`
	keys.Observation
	Finding string `json:"finding"`
	OK      bool   `json:"ok"`
}

func (e *env) check(c *cobra.Command, args []string) error {
	d, err := e.app(c.OutOrStdout(), c.ErrOrStderr())
	if err != nil {
		return err
	}
	domains, err := d.domains(args)
	if err != nil {
		return err
	}
	all := []checked{}
	wrong := false
	for _, domain := range domains {
		set, err := d.store.LoadDomain(domain, nil)
		if err != nil {
			return err
		}
		for _, k := range set.Of(domain) {
			if errors.Is(k.Err, fs.ErrPermission) {
				return k.Err
			}
			metadata, err := d.rotator.MetadataOf(k)
			if err != nil || k.State == keys.Removed || k.State == keys.Revoked {
				continue
			}
			term.Progress(c.ErrOrStderr(), "%s: querying each name server for the record of key %s", domain, k.Selector)
			observation := d.rotator.Checker.Look(c.Context(), metadata, k.Signer)
			if err := c.Context().Err(); err != nil {
				return err
			}
			o := observation.Outcome()
			all = append(all, checked{domain, k.Selector, k.State, observation, o.Words, o.Ready})
			wrong = wrong || !o.Ready && (k.State == keys.Active || k.State == keys.Retiring)
		}
	}
	if e.json {
		err = term.WriteJSON(c.OutOrStdout(), all)
	} else {
		err = printChecks(c, all)
	}
	return cmp.Or(err, attention(wrong))
}

func printChecks(c *cobra.Command, all []checked) error {
	paint := term.Paint(c.OutOrStdout())
	w := tabwriter.NewWriter(term.Raw(c.OutOrStdout()), 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "DOMAIN\tSELECTOR\tSTATE\tSERVER\tRECORD")
	for _, k := range all {
		answers := append(slices.Concat(k.Aliases, k.Servers), k.Resolver)
		if k.Err != nil {
			answers = []keys.ServerAnswer{{Server: "-", Why: k.Err.Error()}}
		}
		for i, v := range answers {
			record := paint.Good("correct") // this column is the last one, so that its escape sequences do not affect the alignment
			if i < len(k.Aliases) {
				record = paint.Good("alias correct")
			}
			if v.Status != keys.Same {
				record = paint.Bad(strings.TrimPrefix(fmt.Sprintf("%s: %s%s", v.Status, quoteTexts(v.Text), v.Why), ": ")) // Status is empty if the name servers are unknown
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", k.Domain, k.Selector, k.State, term.Printable(v.Server), record)
		}
	}
	return w.Flush()
}

const (
	// maxTexts is the maximum number of TXT records that are printed. More than one record is an error in DNS.
	maxTexts = 4
	// maxText is the maximum number of bytes that are printed of each record. That is enough for the tags before p= and for a part of
	// p= that distinguishes two RSA keys.
	maxText = 160
)

// quoteTexts returns TXT records for a line of output, followed by a colon. Without records, it returns "".
func quoteTexts(texts []string) string {
	var all []string
	for i, text := range texts {
		if i == maxTexts {
			all = append(all, "...")
			break
		}
		if len(text) > maxText {
			text = text[:maxText] + "..."
		}
		all = append(all, strconv.Quote(text))
	}
	if len(all) == 0 {
		return ""
	}
	return strings.Join(all, ", ") + ": "
}

func (e *env) showCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "show DOMAIN SELECTOR",
		Short:   "Print the DNS record of a key for a zone file and for a web form",
		Long:    "Print the DNS record of a key for a zone file and for a web form. \"dkimkey status DOMAIN\" lists the selectors.",
		Example: "  dkimkey show example.org sp20261124\n  dkimkey show example.org sp20261124 --json",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := e.app(c.OutOrStdout(), c.ErrOrStderr())
			if err != nil {
				return err
			}
			k, err := d.oneKey(args)
			if err != nil {
				return err
			}
			metadata, err := d.rotator.MetadataOf(k)
			if err != nil {
				return err
			}
			a := newAdded(metadata, d.conf.PublishFor(k.Domain).TTL)
			if e.json {
				return term.WriteJSON(c.OutOrStdout(), a)
			}
			fmt.Fprint(c.OutOrStdout(), a.text())
			return nil
		},
	}
	c.Flags().BoolVar(&e.json, "json", false, "print JSON")
	return c
}

// oneKey returns the key for the arguments DOMAIN SELECTOR.
func (d *app) oneKey(args []string) (*keys.Key, error) {
	domains, err := d.domains(args[:1])
	if err != nil {
		return nil, err
	}
	set, err := d.store.LoadDomain(domains[0], nil)
	if err != nil {
		return nil, err
	}
	of := set.Of(domains[0])
	i := slices.IndexFunc(of, func(k *keys.Key) bool { return k.Selector == args[1] })
	if i < 0 { // DNS names are case-insensitive (RFC 4343)
		i = slices.IndexFunc(of, func(k *keys.Key) bool { return strings.EqualFold(k.Selector, args[1]) })
	}
	if i < 0 {
		for _, k := range of {
			if errors.Is(k.Err, fs.ErrPermission) { // the domain's directory may be unreadable
				return nil, k.Err
			}
		}
		return nil, fmt.Errorf("%s has no key %s\nhint: dkimkey status shows all keys", domains[0], args[1])
	}
	return of[i], nil
}
