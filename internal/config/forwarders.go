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

// Forwarder is one [[forwarder]] of that file: a mailing list or forwarder that a person accepted for a time.
type Forwarder struct {
	Network netip.Prefix // not valid: any
	Sealer  string       // d= of ARC-Seal
	Signer  string       // d= of a DKIM signature that passes
	Comment string
	Expires time.Time // the end of the day that it names, UTC
}

// LoadForwarders reads a file of accepted forwarders. It returns none if the file does not exist: none was accepted yet.
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

// ParseForwarders parses the text of such a file. name is its name in errors.
func ParseForwarders(name string, data []byte) (all []Forwarder, err error) {
	tree, err := readTree(name, data)
	if err != nil {
		return nil, err
	}
	const key = "forwarder"
	p := &reader{names: []string{name}, config: Default(), places: keyPlaces(0, data)}
	for _, k := range slices.Sorted(maps.Keys(tree)) {
		if k != key {
			p.fault(k, "unknown key; this file has [[forwarder]] alone, other keys belong in signpost.toml or conf.d")
		}
	}
	if v, ok := tree[key]; ok {
		p.entries(key, v, "a list or forwarder that nobody looks at again is believed for ever", func(at string, table map[string]any) {
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
	var common LocalRule // what is written as in [[allow]]
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
			err = errors.New("unknown key; network, sealer, signer, comment and expires are allowed")
		}
		if err != nil {
			p.fault(at+"."+k, err.Error())
		}
	}
	f.Network, f.Comment, f.Expires = common.Network, common.Comment, common.Expires
	switch sealer := table["sealer"] != nil; {
	case sealer && (table["signer"] != nil || table["network"] != nil):
		p.fault(at, "a sealer stands alone; write another [[forwarder]] for what else there is")
	case !sealer && table["signer"] == nil && table["network"] == nil:
		p.fault(at, "needs a sealer, a signer, a network, or a signer and a network")
	}
	return f
}
