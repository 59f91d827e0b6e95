package main

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"signpost/internal/domain"
)

// read returns the domains of the command line or of the domains file, each once, in their order.
func (e *env) read(args []string) ([]string, error) {
	if e.domains != "" {
		f, err := os.Open(e.domains)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return parseDomains(e.domains, f)
	}
	var all []string
	for _, a := range args {
		name, err := domainName(a)
		if err != nil {
			return nil, err
		}
		all = append(all, name)
	}
	return domain.Unique(all), nil
}

// parseDomains reads a domains file. A file without any domain is an error.
func parseDomains(file string, r io.Reader) ([]string, error) {
	all, err := domain.ReadList(r, file, func(text string) (string, error) {
		name, err := domainName(text)
		if err != nil {
			err = fmt.Errorf("%w; write one domain a line, and comments behind a #", err)
		}
		return name, err
	})
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s: names no domain", file)
	}
	return all, err
}

// domainName parses a domain from which mail can come. An IP address and a top-level domain are errors.
func domainName(text string) (string, error) {
	name, err := domain.ParseArgument(text)
	if _, noAddress := netip.ParseAddr(text); err == nil && (noAddress == nil || !strings.Contains(name, ".")) {
		err = fmt.Errorf("%q is not a domain name", text)
	}
	return name, err
}
