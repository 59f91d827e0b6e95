package main

import (
	"encoding/json"
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

The key does not sign yet. When its record is in DNS, "dkimkey add DOMAIN --unsafe-activate" makes the keys that are
waiting sign at once; without waiting ones it makes a new key that does. Unsafe, because nothing looks whether the world
can see the record: mail signed before that fails everywhere. It is logged, and the key remembers it.`,
		Example: "  dkimkey add example.org\n  dkimkey add example.org --algorithm rsa,ed25519\n  dkimkey add example.org --unsafe-activate",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return e.add(c, args[0], f) },
	}
	c.Flags().StringSliceVar(&f.algorithms, "algorithm", nil, "rsa, ed25519 or both (default: keys.algorithms)")
	c.Flags().IntVar(&f.bits, "bits", 0, "size of an RSA key: 2048, 3072 or 4096 (default: keys.rsa_bits)")
	c.Flags().StringVar(&f.selector, "selector", "", "selector (default: a dated one)")
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

func (e *env) add(c *cobra.Command, arg string, f addFlags) error {
	conf, store, hosted, err := e.open()
	if err != nil {
		return err
	}
	domain, err := domainArg(arg)
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
	unlock, err := store.Lock()
	if err != nil {
		return err
	}
	defer unlock()

	var all []added
	for _, algorithm := range f.algorithms {
		life, isNew, err := e.addOne(store, keys.Options{Domain: domain, Selector: f.selector, Algorithm: algorithm, Bits: f.bits,
			Publish: conf.Publish.Method, Random: e.random}, f.unsafe)
		if err != nil {
			return err
		}
		if f.unsafe {
			if life, err = store.Activate(domain, life.Selector); err != nil {
				return err
			}
			// The daemon records it too, before its first signature; a domain recorded without a key would only wait.
			if err := hosted.Add(domain); err != nil {
				return err
			}
			warn(c.ErrOrStderr(), "key signs from now on; nobody looked whether its record is in DNS", "domain", domain, "selector", life.Selector)
		}
		ttl := conf.PublishFor(domain).TTL
		a := added{life, life.State(), keys.RecordName(domain, life.Selector), keys.ZoneText(domain, life.Selector, life.Record, ttl), ttl}
		all = append(all, a)
		if !f.json {
			printRecord(c, a, isNew)
		}
	}
	if f.json {
		enc := json.NewEncoder(c.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(all)
	}
	printNext(c, domain, f.unsafe)
	return nil
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
func (e *env) addOne(store keys.Store, o keys.Options, activate bool) (life *keys.Life, isNew bool, err error) {
	if activate {
		set, err := keys.Load(store.Dir, nil)
		if err != nil {
			return nil, false, err
		}
		if k := set.Waiting(o.Domain, o.Algorithm, o.Selector); k != nil {
			return k.Life, false, nil
		}
	}
	life, err = store.Create(o)
	return life, true, err
}

func printRecord(c *cobra.Command, a added, isNew bool) {
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

func printNext(c *cobra.Command, domain string, active bool) {
	out := c.ErrOrStderr()
	if active {
		fmt.Fprintf(out, "Next: make sure that the record is in DNS: mail of %s is signed from now on.\n", domain)
		return
	}
	fmt.Fprintf(out, "Next: put the record into DNS, wait until every name server of %s shows it, then\n  dkimkey add %s --unsafe-activate\nUntil then the key does not sign.\n", domain, domain)
}
