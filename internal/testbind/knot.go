package testbind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// StartKnot serves zones as Start does, with Knot DNS: primaries alone, all of which the key may update.
func StartKnot(ctx context.Context, host string, zones map[string]string) (*Server, error) {
	dir, err := os.MkdirTemp("", "testknot")
	if err != nil {
		return nil, err
	}
	s := &Server{Host: host, dir: dir}
	if err := s.takePort(); err != nil {
		return nil, err
	}
	var conf strings.Builder
	fmt.Fprintf(&conf, `server:
  rundir: "%[1]s"
  listen: %[2]s@%[3]d
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
log:
  - target: stderr
    any: info
database:
  storage: "%[1]s"
key:
  - id: signpost
    algorithm: hmac-sha256
    secret: "%[4]s"
acl:
  - id: update
    key: signpost
    action: update
zone:
`, dir, host, s.Port, Secret)
	for name, text := range zones {
		file := filepath.Join(dir, name+"zone")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return nil, err
		}
		fmt.Fprintf(&conf, "  - domain: %q\n    file: %q\n    acl: update\n    storage: %q\n", name, file, dir)
	}
	if err := os.WriteFile(filepath.Join(dir, "knot.conf"), []byte(conf.String()), 0o644); err != nil {
		return nil, err
	}
	s.argv = []string{"knotd", "-c", filepath.Join(dir, "knot.conf")}
	if err := s.Restart(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}
