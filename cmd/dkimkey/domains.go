package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/keys"
)

const (
	// maxDomainFile bounds --from-file in bytes: more than 100,000 domains. A larger file is no list of domains.
	maxDomainFile = 4 << 20
	// maxBadLines is how many wrong lines of it are reported, so that a file of another kind does not fill the screen.
	maxBadLines = 10
)

// domainList returns the domains that are to get a key, each once: those named on the command line and those in file, "-" for
// standard input. All are checked, so that nothing is done if one of them is wrong.
func domainList(c *cobra.Command, named []string, file string) ([]string, error) {
	var domains []string
	known := map[string]bool{}
	add := func(name string) error {
		domain, err := keys.HostableDomain(name)
		if err != nil {
			return cli.Usage(err)
		}
		if !known[domain] {
			known[domain] = true
			domains = append(domains, domain)
		}
		return nil
	}
	for _, name := range named {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	if file == "" {
		if len(domains) == 0 {
			return nil, cli.Usage(fmt.Errorf("no domain is named\nhint: name one, or a file of domains with --from-file; see %s --help", c.CommandPath()))
		}
		return domains, nil
	}
	text, err := readDomains(c, file)
	if err != nil {
		return nil, cli.Usage(err)
	}
	var wrong []error
	for i, line := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if err := add(line); err != nil {
			wrong = append(wrong, fmt.Errorf("%s:%d: %w", file, i+1, err))
		}
	}
	if more := len(wrong) - maxBadLines; more > 0 {
		wrong = append(wrong[:maxBadLines], fmt.Errorf("%s: %d more lines are wrong", file, more))
	}
	if len(wrong) == 0 && len(domains) == 0 {
		wrong = []error{fmt.Errorf("%s names no domain", file)}
	}
	if len(wrong) > 0 {
		return nil, cli.Usage(errors.Join(wrong...))
	}
	return domains, nil
}

func readDomains(c *cobra.Command, file string) (string, error) {
	in := c.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("--from-file: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxDomainFile+1))
	if err != nil {
		return "", fmt.Errorf("--from-file %s: %w", file, err)
	}
	if len(data) > maxDomainFile {
		return "", fmt.Errorf("--from-file %s: more than %d MiB is no list of domains", file, maxDomainFile>>20)
	}
	return string(data), nil
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
