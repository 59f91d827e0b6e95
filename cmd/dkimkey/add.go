package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/dkim"
	"signpost/keys"
)

type addFlags struct {
	algorithms []string
	bits       int
	selector   string
	unsafe     bool
	json       bool
}

func (e *env) addCommand() *cobra.Command {
	var f addFlags
	c := &cobra.Command{
		Use:   "add DOMAIN",
		Short: "Make a key for a domain and print its DNS record",
		Long: `Make a key for a domain and print its DNS record, as text for a zone file and as one line for web forms.

The key does not sign yet. Where publish.method is not "manual" its record is published at once; otherwise you put it into
DNS. "dkimkey rotate" looks, and makes it sign when the world has seen it.

--unsafe-activate makes the keys that are waiting sign at once; without waiting ones it makes a new key that does. Unsafe,
because nothing looks whether the world can see the record: mail signed before that fails everywhere. It is logged, and
the key remembers it.`,
		Example: "  dkimkey add example.org\n  dkimkey add example.org --algorithm rsa,ed25519\n  dkimkey add example.org --unsafe-activate",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return e.add(c, args[0], f) },
	}
	c.Flags().StringSliceVar(&f.algorithms, "algorithm", nil, "`ALGORITHMS`: rsa, ed25519 or both (default: keys.algorithms)")
	c.Flags().IntVar(&f.bits, "bits", 0, "`BITS` of an RSA key: 2048, 3072 or 4096 (default: keys.rsa_bits)")
	c.Flags().StringVar(&f.selector, "selector", "", "`SELECTOR` of the key (default: a dated one)")
	c.Flags().BoolVar(&f.unsafe, "unsafe-activate", false, "sign with it at once, without looking whether its record is in DNS")
	c.Flags().BoolVar(&f.json, "json", false, "print for machines")
	return c
}

// added is what --json prints for a key.
type added struct {
	*keys.Life
	State      keys.State `json:"state"`
	RecordName string     `json:"record_name"`
	Zone       string     `json:"zone_text"`
	ttl        time.Duration
}

func newAdded(l *keys.Life, ttl time.Duration) *added {
	return &added{l, l.State(), keys.RecordName(l.Domain, l.Selector), keys.ZoneText(l.Domain, l.Selector, l.Record, ttl), ttl}
}

func (e *env) add(c *cobra.Command, arg string, f addFlags) error {
	d, err := e.desk(c.ErrOrStderr(), c.ErrOrStderr())
	if err != nil {
		return err
	}
	conf, store := d.conf, d.store
	domain, err := hostableArg(arg)
	if err != nil {
		return err
	}
	if len(f.algorithms) == 0 {
		f.algorithms = conf.Keys.Algorithms
	}
	if f.bits == 0 {
		f.bits = conf.Keys.RSABits
	}
	if err := f.check(); err != nil {
		return cli.Usage(err)
	}
	if err := store.Make(); err != nil {
		return err
	}
	unlock, err := store.Lock(c.Context(), domain)
	if err != nil {
		return err
	}
	defer unlock()

	var all []*added
	for _, algorithm := range f.algorithms {
		if algorithm == "rsa" && f.bits > 2048 {
			cli.Progress(c.ErrOrStderr(), "%s: making an RSA key of %d bits, which takes some seconds", domain, f.bits)
		}
		life, isNew, err := e.addOne(store, d.rules(domain), keys.Options{Domain: domain, Selector: f.selector, Algorithm: algorithm, Bits: f.bits,
			Publish: conf.Publish.Method, Random: e.random}, f.unsafe)
		if err != nil {
			return err
		}
		if f.unsafe {
			if life.Published == nil && !d.rules(domain).Manual() {
				if err := d.rotator.Publish(c.Context(), life); err != nil {
					return err
				}
			}
			if life, err = store.Activate(domain, life.Selector); err != nil {
				return err
			}
			warn(c.ErrOrStderr(), "key signs from now on; nobody looked whether its record is in DNS", "domain", domain, "selector", life.Selector)
		}
		a := newAdded(life, conf.PublishFor(domain).TTL)
		all = append(all, a)
		if !f.json {
			printRecord(c, a, isNew)
		}
	}
	if err := d.warnEd25519Alone(c.ErrOrStderr(), domain); err != nil {
		return err
	}
	if f.json {
		if err := printJSON(c.OutOrStdout(), all); err != nil {
			return err
		}
	} else {
		printNext(c, domain, f.unsafe, d.rules(domain).Manual())
	}
	if d.rules(domain).Manual() {
		return nil
	}
	unlock()
	// What publishes itself is published now; the rest is for rotate.
	failed, err := d.run(c.Context(), c.ErrOrStderr(), []string{domain})
	if err == nil && failed {
		err = errAttention
	}
	return err
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
		if _, err := dkim.Domain(f.selector); err != nil {
			return fmt.Errorf("--selector %q is not a selector: letters, digits and hyphens are allowed", f.selector)
		}
		if len(f.algorithms) > 1 {
			return fmt.Errorf("--selector names one key, and keys of %d algorithms would be made; use --algorithm too", len(f.algorithms))
		}
	}
	return nil
}

// addOne makes a key, or with activate takes the newest that waits.
func (e *env) addOne(store keys.Store, rules keys.Rules, o keys.Options, activate bool) (life *keys.Life, isNew bool, err error) {
	set, err := store.LoadDomain(o.Domain, nil)
	if err != nil {
		return nil, false, err
	}
	if activate {
		if k := set.Waiting(o.Domain, o.Algorithm, o.Selector); k != nil {
			return k.Life, false, nil
		}
	}
	if ring := rules.Ring[o.Algorithm]; len(ring) > 0 && o.Selector == "" {
		o.Ring = true
		if o.Selector = rules.FreeSelector(set.Of(o.Domain), o.Algorithm, e.now()); o.Selector == "" {
			return nil, false, fmt.Errorf("each selector of the ring %v is still in use; dkimkey status says until when", ring)
		}
	}
	life, err = store.Create(o)
	return life, true, err
}

func printRecord(c *cobra.Command, a *added, isNew bool) {
	out := c.OutOrStdout()
	what := "made"
	if !isNew {
		what = "was waiting"
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s: %s key of %d bits %s, selector %s, state %s\n", a.Domain, a.Algorithm, a.Bits, what, a.Selector, a.State)
	if !isNew {
		return // its record was printed when it was made
	}
	fmt.Fprint(out, recordText(a.Life, a.ttl))
}

// recordText is a record for a zone file and for a web form.
func recordText(l *keys.Life, ttl time.Duration) string {
	return fmt.Sprintf("; DNS record of %s key %s, for a zone file:\n%s"+
		"; The same for a web form. Name (some forms want it without .%s), type TXT, value on one line:\n%s\n%s\n",
		l.Domain, l.Selector, keys.ZoneText(l.Domain, l.Selector, l.Record, ttl), l.Domain, keys.RecordName(l.Domain, l.Selector), l.Record)
}

func printNext(c *cobra.Command, domain string, active, manual bool) {
	out := c.ErrOrStderr()
	switch {
	case active:
		fmt.Fprintf(out, "Next: make sure that the record is in DNS: mail of %s is signed from now on.\n", domain)
	case manual:
		fmt.Fprintf(out, "Next: put the record into DNS. dkimkey rotate, daily from cron, looks for it; \"dkimkey rotate %s --wait\" waits.\n"+
			"When every name server of %s has shown it for long enough for caches, the key signs. Until then it does not.\n", domain, domain)
	default:
		fmt.Fprintf(out, "Next: dkimkey rotate, daily from cron. When every name server of %s has shown the record for long enough for caches,\n"+
			"the key signs. Until then it does not. \"dkimkey rotate %s --wait\" waits for it.\n", domain, domain)
	}
}
