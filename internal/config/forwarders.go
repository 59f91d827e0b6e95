package config

import (
	"errors"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// forwardersName is the file of accepted forwarders, in the directory of the configuration.
const forwardersName = "forwarders.toml"

// Forwarder is one [[forwarder]] of the file of accepted forwarders: a mailing list or forwarder that an administrator accepted until a
// date.
type Forwarder struct {
	Network netip.Prefix // zero: any
	Sealer  string       // d= of ARC-Seal
	Signer  string       // d= of a DKIM signature; the signature must pass
	Comment string
	Expires time.Time // the end of the given day, UTC
}

// LoadForwarders reads a file of accepted forwarders. If the file does not exist, it returns no entries and no error.
func LoadForwarders(path string) ([]Forwarder, error) {
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ParseForwarders(path, data)
}

// ParseForwarders parses a file of accepted forwarders. Errors contain name as the name of the file.
func ParseForwarders(name string, data []byte) (all []Forwarder, err error) {
	tree, err := readTree(name, data)
	if err != nil {
		return nil, err
	}
	const key = "forwarder"
	p := &reader{names: []string{name}, config: Default(), places: keyPlaces(0, data)}
	for _, k := range slices.Sorted(maps.Keys(tree)) {
		if k != key {
			p.fault(k, "unknown key; this file may contain only [[forwarder]], other keys belong in signpost.toml or conf.d")
		}
	}
	if v, ok := tree[key]; ok {
		p.entries(key, v, "trust in a list or forwarder expires unless it is renewed", func(at string, table map[string]any) {
			all = append(all, p.forwarder(at, table))
		})
	}
	if faults := p.faults(); len(faults) > 0 {
		return all, faults
	}
	return all, nil
}

func (p *reader) forwarder(at string, table map[string]any) Forwarder {
	var f Forwarder
	var common LocalRule // the keys that [[forwarder]] and [[allow]] have in common
	for _, k := range slices.Sorted(maps.Keys(table)) {
		var err error
		switch k {
		case "sealer", "signer":
			to := &f.Sealer
			if k == "signer" {
				to = &f.Signer
			}
			var s string
			if err = text(&s, table[k]); err == nil {
				*to, err = domainName(s)
			}
		case "network", "comment", "expires":
			err = common.set(k, table[k])
		default:
			err = errors.New("unknown key; use network, sealer, signer, comment or expires")
		}
		if err != nil {
			p.fault(at+"."+k, err.Error())
		}
	}
	f.Network, f.Comment, f.Expires = common.Network, common.Comment, common.Expires
	switch sealer := table["sealer"] != nil; {
	case sealer && (table["signer"] != nil || table["network"] != nil):
		p.fault(at, "sealer cannot be combined with signer or network; write another [[forwarder]] for them")
	case !sealer && table["signer"] == nil && table["network"] == nil:
		p.fault(at, "must have a sealer, a signer, a network, or a signer and a network")
	}
	return f
}
