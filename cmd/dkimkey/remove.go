package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/domain"
	"signpost/internal/term"
	"signpost/keys"
	"signpost/policy"
)

func (e *env) removeCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "remove DOMAIN... --yes",
		Short: "Stop hosting domains and delete all their keys",
		Long: `Delete all keys of the given domains and stop hosting them. Mail of a removed domain is then sent unsigned, or signed with
the key of a hosted parent domain. The output states which. The command requires --yes.`,
		Example: "  dkimkey remove example.org --yes\n  dkimkey remove example.org example.net --yes",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return e.remove(c, args, yes) },
	}
	c.Flags().BoolVar(&yes, "yes", false, "confirm the deletion of the keys")
	return c
}

func (e *env) remove(c *cobra.Command, args []string, yes bool) error {
	conf, store, err := e.open()
	if err != nil {
		return err
	}
	var domains []string
	for _, arg := range args {
		domain, err := domain.ParseArgument(arg)
		if err != nil {
			return cli.Usage(err)
		}
		domains = append(domains, domain)
	}
	if !yes {
		return cli.Usage(fmt.Errorf("removing %s deletes the private keys, and mail may be sent unsigned\nhint: pass --yes to confirm", strings.Join(domains, ", ")))
	}
	synced, err := e.lead(c.Context(), conf, c.ErrOrStderr())
	if err != nil {
		return err
	}
	failed := false
	for _, domain := range domains {
		err := removeDomain(c, conf, store, domain)
		if err == nil {
			err = unlist(c, store, domain)
		}
		if err != nil {
			// Continue with the other domains.
			failed = true
			cli.Print(c.ErrOrStderr(), "dkimkey", fmt.Errorf("remove: %w", err))
		}
	}
	return errors.Join(attention(failed), synced())
}

func removeDomain(c *cobra.Command, conf *config.Config, store keys.Store, domain string) error {
	stderr, dir := c.ErrOrStderr(), filepath.Join(store.Dir, domain)
	known, err := store.Hosted()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrPermission) {
		return err
	} else if err != nil && !known[domain] {
		if set, err := store.LoadDomain(domain, nil); err == nil && len(set.Of(domain)) > 0 { // the directory has another name
			return fmt.Errorf("%s: %w", domain, set.Of(domain)[0].Err)
		}
		return fmt.Errorf("%s: no such domain\nhint: dkimkey status shows all domains with keys", domain)
	}
	before, left, err := store.RemoveDomain(c.Context(), domain)
	if err != nil {
		return err
	}
	for _, k := range before {
		stays := slices.ContainsFunc(left, func(l *keys.Key) bool { return l.Selector == k.Selector }) // stays: the key file is a directory, which dkimkey does not delete
		selector := term.Printable(k.Selector)                                                         // the name of a file can contain any characters
		switch {
		case k.Foreign || selector == "" || stays:
			continue
		case k.State == keys.Removed || !k.MayBePublished():
			fmt.Fprintf(stderr, "%s: key %s deleted\n", domain, selector)
		default:
			fmt.Fprintf(stderr, "%s: key %s deleted; keep its record %s in DNS for two weeks, then remove it\n", domain, selector, keys.RecordName(domain, selector))
		}
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(stderr, "%s: directory %s is kept, because it contains other files\n", domain, dir)
	}
	delete(known, domain)
	signer, not := policy.SigningDomain(domain, policy.Rules{Hosted: known, SignDomains: conf.Sign.Domains, Subdomains: conf.Sign.Subdomains})
	var set *keys.Set
	if signer != "" {
		if set, err = store.LoadDomain(signer, nil); err != nil {
			return err
		}
	}
	switch {
	case signer == "":
		fmt.Fprintf(stderr, "%s: no longer hosted; its mail is sent unsigned, because %s %s\n", domain, domain, unsigned(not))
	case len(set.Signing(signer)) == 0:
		fmt.Fprintf(stderr, "%s: no longer hosted; its mail must now be signed by %s, which has no active key: sign.on_missing_key applies\n", domain, signer)
	default:
		fmt.Fprintf(stderr, "%s: no longer hosted; its mail is now signed with the key of %s (d=%s)\n", domain, signer, signer)
	}
	return nil
}

// unsigned returns the reason why no key signs the mail of a domain. The parameter why is the code that policy.SigningDomain returned.
func unsigned(why policy.Code) string {
	switch why {
	case policy.SubdomainOfHosted:
		return "is below a hosted domain (sign.subdomains = false)"
	case policy.NotInSignDomains:
		return "is not in sign.domains"
	case policy.NoActiveKey:
		return "has no active key"
	}
	return "is not hosted here"
}
