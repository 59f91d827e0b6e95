package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
)

// rights are those of one unix socket; what is not given is as for all of them.
type rights struct {
	mode  *fs.FileMode
	group *string
}

// Rights are the mode and the group of a unix socket: its own, or socket_mode and socket_group.
func (c *Config) Rights(l Listener) (mode fs.FileMode, group string) {
	mode, group = c.SocketMode, c.SocketGroup
	own := c.rights[l]
	if own.mode != nil {
		mode = *own.mode
	}
	if own.group != nil {
		group = *own.group
	}
	return mode, group
}

// listeners reads a list of sockets, each its name or a table of its name and its rights.
func listeners(c *Config, v any) error {
	names, own := v, map[string]rights{}
	if items, ok := v.([]any); ok {
		all := slices.Clone(items)
		for i, item := range items {
			table, ok := item.(map[string]any)
			if !ok {
				continue
			}
			r, err := socketRights(table)
			if err != nil {
				return err
			}
			all[i] = table["socket"]
			own[table["socket"].(string)] = r
		}
		names = all
	}
	seen := map[string]bool{}
	return list(&c.Listen, names, func(s string) (Listener, error) {
		if seen[s] {
			return Listener{}, fmt.Errorf("%q stands twice", s)
		}
		seen[s] = true
		l, err := listener(s)
		r, given := own[s]
		switch {
		case err != nil:
			return l, err
		case given && l.Network != "unix":
			return l, fmt.Errorf("%q has no mode and no group; only unix: sockets have", s)
		case given && c.rights == nil:
			c.rights = map[Listener]rights{l: r}
		case given:
			c.rights[l] = r
		}
		return l, nil
	})
}

func socketRights(table map[string]any) (r rights, err error) {
	if _, ok := table["socket"].(string); !ok {
		return r, errors.New(`a table needs its socket, like { socket = "unix:/run/signpost/relay.sock", mode = "0600" }`)
	}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		switch v := table[key]; key {
		case "socket":
		case "mode":
			r.mode = new(fs.FileMode)
			err = fileMode(r.mode, v)
		case "group":
			r.group = new(string)
			err = text(r.group, v)
		default:
			err = errors.New("unknown key; socket, mode and group are allowed")
		}
		if err != nil {
			return r, fmt.Errorf("%s: %w", key, err)
		}
	}
	return r, nil
}
