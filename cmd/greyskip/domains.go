package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"signpost/internal/domain"
)

// maxDomainsFile is far more than anybody lists: what is larger is another file.
const maxDomainsFile = 1 << 20

// read gives the domains that are asked for, each once, in their order.
func (e *env) read(args []string) ([]string, error) {
	if e.domains == "" {
		return argDomains(args)
	}
	f, err := os.Open(e.domains)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxDomainsFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxDomainsFile {
		return nil, fmt.Errorf("%s: is larger than 1 MiB, this is no list of domains", e.domains)
	}
	return parseDomains(e.domains, data)
}

func argDomains(args []string) (all []string, err error) {
	for _, a := range args {
		domain, err := domainName(a)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(all, domain) {
			all = append(all, domain)
		}
	}
	return all, nil
}

// parseDomains reads a domains file: one domain a line, # begins a comment. The error names file and line.
func parseDomains(file string, data []byte) (all []string, err error) {
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxDomainsFile+1)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		domain, err := domainName(text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w; write one domain a line, and comments behind a #", file, n, err)
		}
		if !slices.Contains(all, domain) {
			all = append(all, domain)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: names no domain", file)
	}
	return all, nil
}

// domainName takes what mail is addressed from: a top-level domain alone is a slip of the keys.
func domainName(text string) (string, error) {
	domain, err := domain.Parse(strings.TrimSuffix(text, "."))
	_, noAddress := netip.ParseAddr(text)
	if err != nil || noAddress == nil || !strings.Contains(domain, ".") {
		return "", fmt.Errorf("%q is not a domain name", text)
	}
	return domain, nil
}
