package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"signpost/internal/durable"
	"signpost/keys"

	"github.com/miekg/dns"
)

// ZoneFile writes the records to a file that a zone includes, and then runs the operator's command. That command must increase the
// serial and reload the zone.
type ZoneFile struct {
	Path    string
	Reload  []string // the command; empty: none
	Timeout time.Duration
}

const zoneFileHead = "; DKIM keys, written by dkimkey: what is changed here by hand is lost. $INCLUDE it in the zone.\n"

// Publish replaces the file atomically and runs the command.
func (p ZoneFile) Publish(ctx context.Context, c keys.Change) error {
	records, err := p.read()
	if err != nil {
		return err
	}
	name := dns.CanonicalName(c.Name)
	if c.Action == keys.Remove {
		delete(records, name)
	} else {
		records[name] = keys.ZoneText(c.Domain, c.Selector, c.Text, time.Duration(c.TTL)*time.Second)
	}
	var b strings.Builder
	b.WriteString(zoneFileHead)
	for _, name := range slices.Sorted(maps.Keys(records)) {
		b.WriteString(records[name])
	}
	if err := (durable.Tree{filepath.Dir(p.Path)}).Write(p.Path, []byte(b.String()), filepath.Dir(p.Path), 0o644); err != nil {
		return err
	}
	if len(p.Reload) == 0 {
		return nil
	}
	return runProgram(ctx, "publish.reload", p.Reload, p.Timeout, nil)
}

// read returns the records of the file as text, by name.
func (p ZoneFile) read() (map[string]string, error) {
	records := map[string]string{}
	data, err := os.ReadFile(p.Path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Dir(p.Path)); err != nil {
			return nil, fmt.Errorf("publish.path: the directory of %s does not exist", p.Path)
		}
		return records, nil
	}
	if err != nil {
		return nil, fmt.Errorf("publish.path: %w", err)
	}
	if len(data) > 0 && !strings.HasPrefix(string(data), zoneFileHead) {
		return nil, fmt.Errorf("publish.path: %s was not written by dkimkey; choose another file, and $INCLUDE it in the zone", p.Path)
	}
	parser := dns.NewZoneParser(strings.NewReader(string(data)), ".", p.Path)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		txt, isTXT := rr.(*dns.TXT)
		domain, found := "", false
		if isTXT {
			_, domain, found = strings.Cut(strings.TrimSuffix(rr.Header().Name, "."), "._domainkey.")
		}
		if !found {
			return nil, fmt.Errorf("publish.path: %s contains %s, which is not a DKIM key record", p.Path, rr.Header().Name)
		}
		selector := strings.TrimSuffix(strings.TrimSuffix(rr.Header().Name, "."), "._domainkey."+domain)
		records[dns.CanonicalName(rr.Header().Name)] = keys.ZoneText(domain, selector, strings.Join(txt.Txt, ""), time.Duration(rr.Header().Ttl)*time.Second)
	}
	if err := parser.Err(); err != nil {
		return nil, fmt.Errorf("publish.path: %w", err)
	}
	return records, nil
}
