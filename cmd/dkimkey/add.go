package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/domain"
	"signpost/internal/term"
	"signpost/keys"
)

type addFlags struct {
	algorithms []string
	bits       int
	selector   string
	file       string
	missing    bool
	most       int // 0: no limit
	retire     bool
	force      bool
	unsafe     bool
}

func (e *env) addCommand() *cobra.Command {
	var f addFlags
	c := &cobra.Command{
		Use:   "add DOMAIN...",
		Short: "Create a key for a domain and print its DNS record",
		Long: `Create a key for each domain and print its DNS record, once for a zone file and once for web forms. If you name several
domains, the records that you must publish are printed as one text for a zone file.

The key does not sign yet. If publish.method is "manual", add the record to DNS yourself. Otherwise, this command publishes
it. "dkimkey rotate" then checks the record and activates the key.

If the domain has no active key, the new key signs as soon as its record has been visible for long enough. If another key is
active, the new key takes over at the next rotation. "dkimkey rotate DOMAIN --now" starts that rotation today. If
publish.method is "manual" or keys.rotate_every is "never", the new key does not wait for a rotation.

--from-file reads domains from a file, or from standard input if it is "-". Write one domain per line; # starts a comment.
If a line is invalid, no key is created. To repeat the command after an error, add --missing: it skips domains that have a
key. --max limits how many domains get keys in one run.

--retire-missing removes domains that are no longer in the list, as "dkimkey remove" does. It requires --missing. A domain is
removed if three runs on three days did not find it in the list. Only domains that a run with this option has added are
removed. One run removes at most three domains or 2 % of them, whichever is more. If more are due, none is removed, and the
exit code is 1; --force removes them. An empty list is an error and removes nothing.

--unsafe-activate activates the newest pending key immediately, or a new key if none is pending. It is unsafe because the
record is not checked: verification of the signatures fails until the record is in DNS. The log and the key's metadata
record the use of this flag.`,
		Example: "  dkimkey add example.org\n  dkimkey add example.org --algorithm rsa,ed25519\n  dkimkey add --from-file domains.txt\n  mariadb -N -e \"SELECT domain FROM domain WHERE active = 1\" postfix | dkimkey add --missing --retire-missing --from-file -\n  dkimkey add example.org --unsafe-activate",
		RunE:    func(c *cobra.Command, args []string) error { return e.add(c, args, f) },
	}
	c.Flags().StringSliceVar(&f.algorithms, "algorithm", nil, "`ALGORITHMS`: rsa, ed25519 or both (default: keys.algorithms)")
	c.Flags().IntVar(&f.bits, "bits", 0, "`BITS` of an RSA key: 2048, 3072 or 4096 (default: keys.rsa_bits)")
	c.Flags().StringVar(&f.selector, "selector", "", "`SELECTOR` of the key (default: chosen automatically)")
	c.Flags().StringVar(&f.file, "from-file", "", "`FILE` with one domain per line; \"-\" is standard input")
	c.Flags().BoolVar(&f.missing, "missing", false, "create keys only for domains that have none")
	c.Flags().IntVar(&f.most, "max", 0, "create keys for at most `N` domains")
	c.Flags().BoolVar(&f.retire, "retire-missing", false, "remove domains that are no longer in the list")
	c.Flags().BoolVar(&f.force, "force", false, "with --retire-missing: remove any number of domains")
	c.Flags().BoolVar(&f.unsafe, "unsafe-activate", false, "activate the key immediately, without checking its record")
	c.Flags().BoolVar(&e.json, "json", false, "print JSON")
	cli.Complete(c, map[string]cobra.CompletionFunc{"algorithm": cli.Words("rsa", "ed25519"), "bits": cli.Words("2048", "3072", "4096"), "selector": cli.Any(), "max": cli.Any(), "from-file": cli.File()})
	return c
}

// added is a key in the output of --json.
type added struct {
	*keys.Metadata
	State      keys.State `json:"state"`
	RecordName string     `json:"record_name"`
	Zone       string     `json:"zone_text"`
	isNew      bool
}

func newAdded(m *keys.Metadata, ttl time.Duration) *added {
	return &added{Metadata: m, State: m.State(), RecordName: keys.RecordName(m.Domain, m.Selector), Zone: keys.ZoneText(m.Domain, m.Selector, m.Record, ttl)}
}

func (e *env) add(c *cobra.Command, args []string, f addFlags) error {
	d, err := e.app(c.ErrOrStderr(), c.ErrOrStderr())
	if err != nil {
		return err
	}
	if err := f.checkList(args); err != nil {
		return cli.Usage(err)
	}
	domains, err := domainList(c, args, f.file)
	if err != nil {
		return err
	}
	complete := domains
	if len(f.algorithms) == 0 {
		f.algorithms = d.conf.Keys.Algorithms
	}
	if f.bits == 0 {
		f.bits = d.conf.Keys.RSABits
	}
	if err := f.check(); err != nil {
		return cli.Usage(err)
	}
	synced, err := e.lead(c.Context(), d.conf, c.ErrOrStderr())
	if err != nil {
		return err
	}
	if err := d.store.Make(); err != nil {
		return err
	}
	all := []*added{}
	var automatic []string
	wrong := false
	var list *list
	if f.retire {
		var unlock func()
		if list, unlock, err = d.openList(c); err != nil {
			return err
		}
		defer unlock()
	}
	if f.missing {
		if domains, err = d.store.WithoutKeys(domains); err != nil {
			return err
		}
	}
	if more := len(domains) - f.most; f.most > 0 && more > 0 {
		wrong, domains = true, domains[:f.most]
		fmt.Fprintf(c.ErrOrStderr(), "dkimkey: %d more domains have no key (--max %d): run the command again\n", more, f.most)
	}
	if f.retire {
		if err := list.add(domains); err != nil {
			return err
		}
	}
	for i, domain := range domains {
		if len(domains) > 1 {
			term.Progress(c.ErrOrStderr(), "%s: creating keys (%d of %d)", domain, i+1, len(domains))
		}
		made, err := d.addKeys(c, domain, f)
		all = append(all, made...)
		for _, a := range made {
			if !e.json {
				printAdded(c, a, len(domains) == 1)
			}
		}
		if err != nil {
			wrong = true
			cli.Print(c.ErrOrStderr(), "dkimkey", fmt.Errorf("%s: %w", domain, err))
		} else if !d.rules(domain).Manual() {
			automatic = append(automatic, domain)
		}
	}
	for _, domain := range domains {
		if err := d.warnEd25519Alone(c.ErrOrStderr(), domain); err != nil {
			return err
		}
	}
	if e.json {
		if err := term.WriteJSON(c.OutOrStdout(), all); err != nil {
			return err
		}
	} else {
		if len(domains) > 1 {
			d.printZone(c.OutOrStdout(), all)
		}
		if err := d.printNext(c.ErrOrStderr(), domains, all, f.unsafe); err != nil {
			return err
		}
	}
	// Publish the records now, unless publish.method is manual. "dkimkey rotate" does the later steps.
	if len(automatic) > 0 {
		wrong = d.run(c.Context(), c.ErrOrStderr(), automatic) || wrong
	}
	if f.retire {
		needed, err := list.retire(c, complete, f.force)
		if err != nil {
			return err
		}
		wrong = wrong || needed
	}
	return errors.Join(attention(wrong), synced())
}

// addKeys creates the keys of one domain: one key for each algorithm.
func (d *app) addKeys(c *cobra.Command, domain string, f addFlags) (all []*added, err error) {
	o := keys.AddOptions{Domain: domain, Algorithms: f.algorithms, Bits: f.bits, Selector: f.selector, Unsafe: f.unsafe}
	made, err := d.rotator.Add(c.Context(), o, func(algorithm string) {
		if algorithm == "rsa" && f.bits > 2048 {
			term.Progress(c.ErrOrStderr(), "%s: creating an RSA key of %d bits, which takes some seconds", domain, f.bits)
		}
	})
	for _, m := range made {
		if f.unsafe {
			warnUnsafe(c, m.Metadata)
		}
		a := newAdded(m.Metadata, d.rules(domain).TTL)
		a.isNew = m.New
		all = append(all, a)
	}
	return all, err
}

// warnUnsafe warns that a key signs mail although its DNS record was never checked. The daemon also logs this warning when it reads the
// key.
func warnUnsafe(c *cobra.Command, m *keys.Metadata) {
	slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil)).Warn("key activated; its record has not been checked in DNS", "domain", m.Domain, "selector", m.Selector)
}

func (f *addFlags) check() error {
	for i, a := range f.algorithms {
		if !slices.Contains([]string{"rsa", "ed25519"}, a) || slices.Contains(f.algorithms[:i], a) {
			return fmt.Errorf("--algorithm %s: rsa, ed25519 and rsa,ed25519 are allowed", a)
		}
	}
	if !slices.Contains([]int{2048, 3072, 4096}, f.bits) {
		return fmt.Errorf("--bits %d: 2048, 3072 and 4096 are allowed", f.bits)
	}
	if f.selector != "" {
		selector, err := domain.Parse(f.selector)
		if err != nil {
			return fmt.Errorf("--selector %q is not a selector: letters, digits and hyphens are allowed", f.selector)
		}
		f.selector = selector // in lower case: DNS names are case-insensitive
		if len(f.algorithms) > 1 {
			return fmt.Errorf("--selector is for one key, but %d algorithms are selected\nhint: pass --algorithm with one of them", len(f.algorithms))
		}
	}
	return nil
}

func printAdded(c *cobra.Command, a *added, record bool) {
	what := "created"
	if !a.isNew {
		what = "activated"
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s: %s key of %d bits %s, selector %s, state %s\n", a.Domain, a.Algorithm, a.Bits, what, a.Selector, a.State)
	if record && a.isNew { // the record of a pending key was printed when the key was created
		fmt.Fprint(c.OutOrStdout(), a.text())
	}
}

// printZone prints the records that the operator must publish for several domains. The output is one text for zone files.
func (d *app) printZone(out io.Writer, all []*added) {
	head := false
	for _, a := range all {
		if !a.isNew || !d.rules(a.Domain).Manual() {
			continue
		}
		if !head {
			head = true
			fmt.Fprintln(out, "; DNS records for zone files:")
		}
		fmt.Fprint(out, a.Zone)
	}
}

// text returns the record in two forms: for a zone file, and for a web form.
func (a *added) text() string {
	return fmt.Sprintf("; DNS record of %s key %s, for a zone file:\n%s"+
		"; The same record for a web form: name (some forms need it without .%s), type TXT, value on one line:\n%s\n%s\n",
		a.Domain, a.Selector, a.Zone, a.Domain, a.RecordName, a.Record)
}

// printNext prints what the operator must do and what happens next.
func (d *app) printNext(out io.Writer, domains []string, all []*added, active bool) error {
	if len(all) == 0 {
		return nil
	}
	names, of, do := domains[0], domains[0], ""
	if len(domains) > 1 {
		names, of = "DOMAIN...", "a domain"
	}
	if active {
		fmt.Fprintf(out, "Next: make sure that the record is in DNS. Mail of %s is now signed with this key.\n", of)
		return nil
	}
	if slices.ContainsFunc(all, func(a *added) bool { return d.rules(a.Domain).Manual() }) {
		do = "add the record to DNS. "
	}
	fmt.Fprintf(out, "Next: %sThe daily \"dkimkey rotate\" checks the record; \"dkimkey rotate %s --wait\" waits until the key signs.\n"+
		"The key does not sign yet. It signs when every name server of %s has the record and caches have expired.\n", do, names, of)
	if len(domains) > 1 {
		return nil
	}
	for _, a := range all {
		k, err := d.rotator.SignsUntilRotation(a.Metadata)
		if err != nil {
			return err
		}
		if k != nil {
			fmt.Fprintf(out, "%s: key %s signs until the next rotation. To replace it by %[4]s as soon as possible: dkimkey rotate %[3]s --now\n",
				a.Domain, k.Selector, a.Domain, a.Selector)
		}
	}
	return nil
}
