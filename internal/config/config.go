// Package config reads the TOML files that configure the daemon, dkimkey and greyskip. Load parses, merges and validates the files, and
// fills in the defaults. Its errors name the file, the line and the key:
//
//	conf, err := config.Load("/etc/signpost/signpost.toml")
//
// schema lists all keys.
package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// KeysDir returns the directory of the private keys.
func (c *Config) KeysDir() string {
	if c.Sign.KeysDir != "" {
		return c.Sign.KeysDir
	}
	return filepath.Join(c.StateDir, "keys")
}

// Tables returns the lookup tables that the daemon queries: domains.tables and sign.login_maps.
func (c *Config) Tables() []string {
	var all []string
	for _, table := range slices.Concat(c.Domains.Tables, c.Sign.LoginMaps) {
		if !slices.Contains(all, table) {
			all = append(all, table)
		}
	}
	return all
}

// TablesDir returns the directory of the saved answers of lookup tables.
func (c *Config) TablesDir() string { return filepath.Join(c.StateDir, "tables") }

// HostedDir returns the directory that lists the hosted domains.
func (c *Config) HostedDir() string { return filepath.Join(c.StateDir, "hosted") }

// ObservedDir returns the directory of the daemon's observations of unmanaged keys.
func (c *Config) ObservedDir() string { return filepath.Join(c.StateDir, "observed") }

// LocksDir returns the directory of the locks of domains.
func (c *Config) LocksDir() string { return filepath.Join(c.StateDir, "locks") }

// JournalFile returns the path of the journal's database.
func (c *Config) JournalFile() string { return filepath.Join(c.StateDir, "journal", "journal.db") }

// PublishFor returns the settings for publishing a domain's records.
func (c *Config) PublishFor(domain string) Publish {
	if p, ok := c.PublishDomain[domain]; ok {
		return p
	}
	return c.Publish
}

// PublishTable returns the name of the table with the settings for publishing a domain's records by DNS UPDATE: "publish", or the table of
// the domain if that differs.
func (c *Config) PublishTable(domain string) string {
	p, ok := c.PublishDomain[domain]
	update := func(p Publish) [5]string {
		return [5]string{p.Method, p.Server, p.TSIGName, p.TSIGAlgorithm, p.TSIGSecretFile}
	}
	if !ok || update(p) == update(c.Publish) {
		return "publish"
	}
	return "publish.domain." + strconv.Quote(domain)
}

// NameServers returns all DNS servers in the configuration, with their ports.
func (c *Config) NameServers() []netip.AddrPort {
	all := slices.Clone(c.DNS.Servers)
	texts := []string{c.Keys.Resolver, c.Publish.Server}
	for _, p := range c.PublishDomain {
		texts = append(texts, p.Server)
	}
	for _, s := range texts {
		if at, err := AddrPort(s); err == nil {
			all = append(all, at)
		}
	}
	return all
}

// RotateEveryFor returns how often a domain gets a new key; 0 is never.
func (c *Config) RotateEveryFor(domain string) time.Duration {
	if c.PublishFor(domain).Method == "manual" && !c.Keys.RotateGiven {
		return 0
	}
	return c.Keys.RotateEvery
}

// TagUnhandled reports whether tagged mail may reach the inbox: this configuration tags mail, but quarantine_handled does not state that a
// filter handles the tag. Mail in Postfix's hold queue is not tagged.
func (c *Config) TagUnhandled() bool {
	tags := c.DMARC.Quarantine == "tag" || c.Verify.HostileFrom == "tag"
	return !c.Observe && tags && !c.DMARC.QuarantineHandled
}

// MetricsOpen reports whether metrics.listen is an address other than loopback.
func (c *Config) MetricsOpen() bool {
	host, _, err := net.SplitHostPort(c.MetricsListen)
	a, notIP := netip.ParseAddr(host)
	return err == nil && host != "localhost" && (notIP != nil || !a.IsLoopback())
}

// Place returns FILE:LINE of the effective value of a key, or "" if no file sets it. Domain names in the key are not quoted.
func (c *Config) Place(key string) string {
	at, ok := c.places[key]
	if !ok || at.line == 0 {
		return ""
	}
	return c.Files[at.file] + ":" + strconv.Itoa(at.line)
}

// emptyRing accepts "selectors = []", which disables rings. Rings are set in [keys.selectors].
func emptyRing(c *Config, v any) error {
	switch v := v.(type) {
	case []any:
		if len(v) == 0 {
			return nil
		}
	case map[string]any:
		for algorithm, selectors := range v {
			if !slices.Contains([]string{"rsa", "ed25519"}, algorithm) {
				return fmt.Errorf("%q is not an algorithm; use rsa or ed25519", algorithm)
			}
			if err := ring(c, algorithm, selectors); err != nil {
				return fmt.Errorf("%s: %w", algorithm, err)
			}
		}
		return nil
	}
	return fmt.Errorf("must be a ring for each algorithm, like { rsa = [\"sp1\", \"sp2\", \"sp3\"] }")
}

// publishDomains reads [publish.domain.NAME], which inherits from [publish].
func (p *reader) publishDomains(tree map[string]any) {
	p.config.PublishDomain = map[string]Publish{}
	p.domainTables("publish.domain", tree, func(key, domain string, table map[string]any) {
		override := p.config.Publish
		for _, k := range slices.Sorted(maps.Keys(table)) {
			set, known := publishSchema()[k]
			if !known {
				p.fault(key+"."+k, "unknown key")
			} else if err := set(&override, table[k]); err != nil {
				p.fault(key+"."+k, err.Error())
			}
			p.given[key+"."+k] = true
		}
		p.config.PublishDomain[domain] = override
	})
}

// domainTables calls read for the table of each domain below key.
func (p *reader) domainTables(key string, tree map[string]any, read func(key, domain string, table map[string]any)) {
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		at := key + "." + name
		domain, err := domainName(name)
		table, ok := tree[name].(map[string]any)
		switch {
		case err != nil:
			p.fault(at, err.Error())
		case !ok:
			p.fault(at, "must be a table: write ["+key+".\""+name+"\"] on a line of its own")
		default:
			read(at, domain, table)
		}
	}
}

// together checks rules that concern more than one key.
func (p *reader) together() {
	c := p.config
	p.placeAs("dns.timeout", "dns.message_timeout")
	if c.DNS.Timeout > c.DNS.MessageTimeout {
		p.fault("dns.timeout", "must not be longer than dns.message_timeout")
	}
	if len(c.Listen) == 0 {
		p.fault("listen", "must contain at least one socket, like \"unix:/var/spool/postfix/signpost/milter.sock\"")
	}
	p.needs("publish", c.Publish.Method)
	for _, domain := range slices.Sorted(maps.Keys(c.PublishDomain)) {
		p.needs("publish.domain."+domain, c.PublishDomain[domain].Method)
	}
	p.sending()
	p.placeAs("keys.retire_after", "sign.expire")
	// A message that is signed on its first day in the queue may be verified on its last day there.
	if least := queueLifetime + c.Sign.Expire + 2*day; c.Keys.RetireAfter < least {
		p.fault("keys.retire_after", fmt.Sprintf("%s is too short: it must be at least Postfix's queue lifetime (%s) + sign.expire (%s) + 2d = %s",
			formatDuration(c.Keys.RetireAfter), formatDuration(queueLifetime), formatDuration(c.Sign.Expire), formatDuration(least)))
	}
}

// placeAs sets the place of key for errors to the place of other, which is in the same rule. It does nothing if a file sets key.
func (p *reader) placeAs(key, other string) {
	if at, set := p.places[other]; set && !p.given[key] {
		p.places[key] = at
	}
}

// queueLifetime is the default of Postfix's maximal_queue_lifetime.
const queueLifetime = 5 * day

// day is a unit that time.Duration does not have.
const day = 24 * time.Hour

// AddrPort parses the address of a DNS server, ADDRESS or ADDRESS:PORT. The default port is 53.
func AddrPort(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 53), nil
	}
	return netip.ParseAddrPort(s)
}
