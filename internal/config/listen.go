package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
)

// rights are the mode and group of one unix socket. If rights is nil, the socket has the mode and group of all sockets.
type rights struct {
	mode  *fs.FileMode
	group *string
}

// Rights returns the mode and group of a unix socket: its own, or socket_mode and socket_group.
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

// listeners reads a list of sockets. Each is an address, or a table with the address, the mode and the group.
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
			return Listener{}, fmt.Errorf("%q is listed twice", s)
		}
		seen[s] = true
		l, err := ParseListener(s)
		r, given := own[s]
		switch {
		case err != nil:
			return l, err
		case given && l.Network != "unix":
			return l, fmt.Errorf("%q cannot have a mode or group; only unix: sockets can", s)
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
		return r, errors.New(`a table must have the key socket, like { socket = "unix:/run/signpost/relay.sock", mode = "0600" }`)
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
			err = errors.New("unknown key; use socket, mode or group")
		}
		if err != nil {
			return r, fmt.Errorf("%s: %w", key, err)
		}
	}
	return r, nil
}

// tableServer reads the socket of signpost tables serve.
func tableServer(to *Listener, v any) error {
	var s string
	err := text(&s, v)
	if err == nil {
		*to, err = ParseListener(s)
	}
	return err
}
