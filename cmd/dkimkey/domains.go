package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/domain"
	"signpost/keys"
)

// domainList returns the domains that are to get a key, each once: those named on the command line and those in file, "-" for
// standard input. All are checked, so that nothing is done if one of them is wrong.
func domainList(c *cobra.Command, named []string, file string) ([]string, error) {
	var all []string
	for _, name := range named {
		hosted, err := domain.ParseHosted(name)
		if err != nil {
			return nil, cli.Usage(err)
		}
		all = append(all, hosted)
	}
	if file != "" {
		listed, err := readDomains(c, file)
		if err == nil && len(named)+len(listed) == 0 {
			err = fmt.Errorf("%s names no domain", file)
		}
		if err != nil {
			return nil, cli.Usage(err)
		}
		all = append(all, listed...)
	}
	if len(all) == 0 {
		return nil, cli.Usage(fmt.Errorf("no domain is named\nhint: name one, or a file of domains with --from-file; see %s --help", c.CommandPath()))
	}
	return domain.Unique(all), nil
}

func readDomains(c *cobra.Command, file string) ([]string, error) {
	in := c.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("--from-file: %w", err)
		}
		defer f.Close()
		in = f
	}
	return domain.ReadList(in, file, domain.ParseHosted)
}

// warnEd25519Alone warns if all keys of a domain that sign or are to sign are Ed25519 keys.
func (d *app) warnEd25519Alone(stderr io.Writer, domain string) error {
	set, err := d.store.LoadDomain(domain, nil)
	if err != nil {
		return err
	}
	if keys.OnlyEd25519(set.Of(domain)) {
		fmt.Fprintf(stderr, "dkimkey: warning: %s: Ed25519 is the only algorithm of the domain: %s\n", domain, keys.Ed25519Alone)
	}
	return nil
}
