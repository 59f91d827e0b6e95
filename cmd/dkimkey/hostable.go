package main

import (
	"fmt"
	"io"
	"slices"

	"signpost/internal/cli"
	"signpost/keys"
)

// hostableArg is domainArg for a domain that is to get a key.
func hostableArg(s string) (string, error) {
	domain, err := keys.HostableDomain(s)
	if err != nil {
		return "", cli.Usage(err)
	}
	return domain, nil
}

// warnEd25519Alone warns if all keys of a domain that sign or are to sign are Ed25519 keys.
func (d *desk) warnEd25519Alone(stderr io.Writer, domain string) error {
	set, err := d.store.LoadDomain(domain, nil)
	if err != nil {
		return err
	}
	current := func(k *keys.Key, algorithm string) bool {
		return k.Algorithm == algorithm && slices.Contains([]keys.State{keys.Generated, keys.Published, keys.Verified, keys.Active}, k.State)
	}
	of := set.Of(domain)
	if slices.ContainsFunc(of, func(k *keys.Key) bool { return current(k, "ed25519") }) && !slices.ContainsFunc(of, func(k *keys.Key) bool { return current(k, "rsa") }) {
		fmt.Fprintf(stderr, "dkimkey: warning: %s: Ed25519 is the only algorithm of the domain: %s\n", domain, keys.Ed25519Alone)
	}
	return nil
}
