package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// setter puts a value from the file into a Config.
type setter func(c *Config, v any) error

// schema returns all keys. dist/signpost.toml shows each with its default and why one would change it.
func schema() map[string]setter {
	s := map[string]setter{
		"mode": func(c *Config, v any) error {
			mode := ""
			err := word(&mode, v, "enforce", "observe")
			c.Observe = mode == "observe"
			return err
		},
		"listen":           listeners,
		"socket_mode":      func(c *Config, v any) error { return fileMode(&c.SocketMode, v) },
		"socket_group":     func(c *Config, v any) error { return text(&c.SocketGroup, v) },
		"authserv_id":      func(c *Config, v any) error { return authservID(&c.AuthservID, v) },
		"authserv_aliases": func(c *Config, v any) error { return authservIDs(&c.AuthservAliases, v) },
		"trusted_networks": func(c *Config, v any) error { return networks(&c.TrustedNetworks, v) },
		"state_dir":        func(c *Config, v any) error { return absolute(&c.StateDir, v, false) },

		"dns.servers":         func(c *Config, v any) error { return servers(&c.DNS.Servers, v) },
		"dns.timeout":         func(c *Config, v any) error { return duration(&c.DNS.Timeout, v, time.Millisecond, time.Minute) },
		"dns.message_timeout": func(c *Config, v any) error { return duration(&c.DNS.MessageTimeout, v, time.Second, 100*time.Second) },

		"sign.keys_dir":       func(c *Config, v any) error { return absolute(&c.Sign.KeysDir, v, true) },
		"sign.domains":        func(c *Config, v any) error { return domains(&c.Sign.Domains, v) },
		"sign.subdomains":     func(c *Config, v any) error { return boolean(&c.Sign.Subdomains, v) },
		"sign.expire":         func(c *Config, v any) error { return duration(&c.Sign.Expire, v, time.Hour, 90*day) },
		"sign.on_missing_key": func(c *Config, v any) error { return word(&c.Sign.OnMissingKey, v, "tempfail", "hold", "accept") },
		"sign.login_domains":  func(c *Config, v any) error { return logins(&c.Sign.LoginDomains, v) },

		"verify.skip_networks": func(c *Config, v any) error { return networks(&c.Verify.SkipNetworks, v) },
		"verify.hostile_from":  func(c *Config, v any) error { return word(&c.Verify.HostileFrom, v, "refuse", "tag") },

		"dmarc.reject":             func(c *Config, v any) error { return word(&c.DMARC.Reject, v, "evidence", "always", "never") },
		"dmarc.quarantine":         func(c *Config, v any) error { return word(&c.DMARC.Quarantine, v, "tag", "hold") },
		"dmarc.quarantine_handled": func(c *Config, v any) error { return boolean(&c.DMARC.QuarantineHandled, v) },
		"dmarc.temperror":          func(c *Config, v any) error { return word(&c.DMARC.TempError, v, "accept", "tempfail") },
		"dmarc.trusted_forwarders": func(c *Config, v any) error { return networks(&c.DMARC.TrustedForwarders, v) },
		"dmarc.trusted_sealers":    func(c *Config, v any) error { return domains(&c.DMARC.TrustedSealers, v) },
		"dmarc.forwarders_file":    func(c *Config, v any) error { return absolute(&c.DMARC.ForwardersFile, v, true) },

		"spf.fail": func(c *Config, v any) error { return word(&c.SPF.Fail, v, "dmarc", "reject") },

		"keys.algorithms": func(c *Config, v any) error { return algorithms(&c.Keys.Algorithms, v) },
		"keys.rsa_bits":   func(c *Config, v any) error { return rsaBits(&c.Keys.RSABits, v) },
		"keys.rotate_every": func(c *Config, v any) error {
			c.Keys.RotateGiven = true
			return durationOrNever(&c.Keys.RotateEvery, v, day, 3650*day)
		},
		"keys.retire_after":      func(c *Config, v any) error { return duration(&c.Keys.RetireAfter, v, day, 3650*day) },
		"keys.keep_revoked":      func(c *Config, v any) error { return duration(&c.Keys.KeepRevoked, v, day, 3650*day) },
		"keys.selectors.rsa":     func(c *Config, v any) error { return ring(c, "rsa", v) },
		"keys.selectors.ed25519": func(c *Config, v any) error { return ring(c, "ed25519", v) },
		"keys.selectors":         emptyRing,
		"keys.resolver":          func(c *Config, v any) error { return resolver(&c.Keys.Resolver, v) },

		"journal.enabled":   func(c *Config, v any) error { return boolean(&c.Journal.Enabled, v) },
		"journal.keep":      func(c *Config, v any) error { return duration(&c.Journal.Keep, v, time.Hour, 3650*day) },
		"journal.max_size":  func(c *Config, v any) error { return size(&c.Journal.MaxSize, v, 32<<20, 1<<40) },
		"journal.addresses": func(c *Config, v any) error { return word(&c.Journal.Addresses, v, "omit", "hash", "full") },

		"metrics.listen": func(c *Config, v any) error { return metricsAddress(&c.MetricsListen, v) },

		"log.level":  func(c *Config, v any) error { return word(&c.Log.Level, v, "debug", "info", "warn", "error") },
		"log.format": func(c *Config, v any) error { return word(&c.Log.Format, v, "text", "json") },
		"log.syslog": func(c *Config, v any) error {
			return word(&c.Log.Syslog, v, "", "mail", "daemon", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7")
		},
	}
	for name, set := range publishSchema() {
		s["publish."+name] = func(c *Config, v any) error { return set(&c.Publish, v) }
	}
	return s
}

// publishSchema are the keys of [publish] and of each [publish.domain.NAME].
func publishSchema() map[string]func(p *Publish, v any) error {
	return map[string]func(p *Publish, v any) error{
		"method":    func(p *Publish, v any) error { return word(&p.Method, v, "manual", "zonefile", "rfc2136", "command") },
		"server":    func(p *Publish, v any) error { return resolver(&p.Server, v) },
		"tsig_name": func(p *Publish, v any) error { return text(&p.TSIGName, v) },
		"tsig_algorithm": func(p *Publish, v any) error {
			return word(&p.TSIGAlgorithm, v, "hmac-sha256", "hmac-sha384", "hmac-sha512")
		},
		"tsig_secret_file": func(p *Publish, v any) error { return absolute(&p.TSIGSecretFile, v, false) },
		"ttl":              func(p *Publish, v any) error { return duration(&p.TTL, v, time.Minute, 7*day) },
		"path":             func(p *Publish, v any) error { return absolute(&p.Path, v, false) },
		"reload":           func(p *Publish, v any) error { return argv(&p.Reload, v) },
		"argv":             func(p *Publish, v any) error { return argv(&p.Argv, v) },
		"timeout":          func(p *Publish, v any) error { return duration(&p.Timeout, v, time.Second, time.Hour) },
	}
}

// emptyRing takes "selectors = []", which means no ring; the rings themselves stand in [keys.selectors].
func emptyRing(c *Config, v any) error {
	switch v := v.(type) {
	case []any:
		if len(v) == 0 {
			return nil
		}
	case map[string]any:
		for algorithm, selectors := range v {
			if !slices.Contains([]string{"rsa", "ed25519"}, algorithm) {
				return fmt.Errorf("%q is no algorithm; rsa and ed25519 are allowed", algorithm)
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

// domainTables calls read for each table of a domain in the table of tables at key.
func (p *reader) domainTables(key string, tree map[string]any, read func(key, domain string, table map[string]any)) {
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		at := key + "." + name
		domain, err := domainName(name)
		table, ok := tree[name].(map[string]any)
		switch {
		case err != nil:
			p.fault(at, err.Error())
		case !ok:
			p.fault(at, "is a table; write ["+key+".\""+name+"\"] on a line of its own")
		default:
			read(at, domain, table)
		}
	}
}

// together checks what concerns more than one key.
func (p *reader) together() {
	c := p.config
	p.placeAs("dns.timeout", "dns.message_timeout")
	if c.DNS.Timeout > c.DNS.MessageTimeout {
		p.fault("dns.timeout", "must not be longer than dns.message_timeout")
	}
	if len(c.Listen) == 0 {
		p.fault("listen", "needs at least one socket, like \"unix:/var/spool/postfix/signpost/milter.sock\"")
	}
	p.needs("publish", c.Publish.Method)
	for _, domain := range slices.Sorted(maps.Keys(c.PublishDomain)) {
		p.needs("publish.domain."+domain, c.PublishDomain[domain].Method)
	}
	p.placeAs("keys.retire_after", "sign.expire")
	// Mail stays in Postfix's queue for so long, signed on its first day; it is verified at the end of it.
	if least := queueLifetime + c.Sign.Expire + 2*day; c.Keys.RetireAfter < least {
		p.fault("keys.retire_after", fmt.Sprintf("%s is too short: a record has to stay for Postfix's queue lifetime (%s) and sign.expire (%s) and 2d, so %s at least",
			formatDuration(c.Keys.RetireAfter), formatDuration(queueLifetime), formatDuration(c.Sign.Expire), formatDuration(least)))
	}
}

// placeAs reports faults of key, where it has its default, at the key whose value does not go with it.
func (p *reader) placeAs(key, other string) {
	if at, set := p.places[other]; set && !p.given[key] {
		p.places[key] = at
	}
}

// queueLifetime is Postfix's maximal_queue_lifetime, as it comes.
const queueLifetime = 5 * day

// needs adds a fault for each key that the method of [table] needs and that neither this table nor [publish] sets.
func (p *reader) needs(table, method string) {
	needed := map[string][]string{"rfc2136": {"server", "tsig_name", "tsig_algorithm", "tsig_secret_file"}, "zonefile": {"path"}, "command": {"argv"}}
	for _, k := range needed[method] {
		if !p.given[table+"."+k] && !p.given["publish."+k] {
			p.fault(table+".method", fmt.Sprintf("%q needs publish.%s", method, k))
		}
	}
}

// day is a unit that time.Duration does not have.
const day = 24 * time.Hour

// AddrPort parses the ADDRESS or ADDRESS:PORT of a name server, as the configuration has it. The default port is 53.
func AddrPort(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 53), nil
	}
	return netip.ParseAddrPort(s)
}
