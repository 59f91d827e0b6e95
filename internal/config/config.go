// Package config reads the TOML files that configure the daemon, dkimkey and greyskip: parse, merge, defaults, validation.
package config

import (
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Config is the configuration with every default filled in. internal/config/schema.go has the keys.
type Config struct {
	Observe         bool // mode = "observe"
	Listen          []Listener
	SocketMode      fs.FileMode
	SocketGroup     string
	AuthservID      string // empty: the MTA's own name
	AuthservAliases []string
	TrustedNetworks []netip.Prefix
	StateDir        string

	DNS     DNS
	Sign    Sign
	Verify  Verify
	DMARC   DMARC
	SPF     SPF
	Allow   []LocalRule
	Deny    []LocalRule
	Keys    Keys
	Publish Publish
	// PublishDomain are the overrides for single domains.
	PublishDomain map[string]Publish
	Journal       Journal
	MetricsListen string
	Log           Log

	Files     []string   // the files that Load read, in this order
	Overrides []Override // keys that more than one of them sets

	rights map[Listener]rights // of sockets with some of their own
	tree   map[string]any      // the files merged
	places map[string]place
}

// Listener is where Postfix connects.
type Listener struct {
	Network string // "unix" or "tcp"
	Address string
}

// DNS is [dns].
type DNS struct {
	Servers        []netip.AddrPort // empty: /etc/resolv.conf
	Timeout        time.Duration
	MessageTimeout time.Duration
}

// Sign is [sign].
type Sign struct {
	KeysDir      string // empty: STATE_DIR/keys
	Domains      []string
	Subdomains   bool
	Expire       time.Duration
	OnMissingKey string
	LoginDomains map[string][]string // login, lower case -> domains
}

// Verify is [verify].
type Verify struct {
	SkipNetworks []netip.Prefix
	HostileFrom  string
}

// DMARC is [dmarc].
type DMARC struct {
	Reject, Quarantine, TempError string
	QuarantineHandled             bool // the operator states that something acts on the tag
	TrustedForwarders             []netip.Prefix
	TrustedSealers                []string
	ForwardersFile                string            // Load sets the default: forwarders.toml in the directory of the configuration file
	ForwardersGiven               bool              // the configuration file sets forwarders_file
	RejectFor                     map[string]string // [dmarc.domain.NAME]: domain -> reject
	Forwarders                    []Forwarder       // the entries of ForwardersFile
}

// SPF is [spf].
type SPF struct{ Fail string }

// Keys is [keys].
type Keys struct {
	Algorithms  []string
	RSABits     int
	RotateEvery time.Duration // 0: never
	RotateGiven bool          // it stands in the file: "never" is the default where publishing is manual
	RetireAfter time.Duration
	KeepRevoked time.Duration
	Selectors   map[string][]string // algorithm -> ring
	Resolver    string
}

// Publish is [publish] or one [publish.domain.NAME].
type Publish struct {
	Method                                          string
	Server, TSIGName, TSIGAlgorithm, TSIGSecretFile string // rfc2136
	TTL                                             time.Duration
	Path                                            string // zonefile
	Reload, Argv                                    []string
	Timeout                                         time.Duration
}

// Journal is [journal].
type Journal struct {
	Enabled   bool
	Keep      time.Duration
	MaxSize   int64  // bytes
	Addresses string // omit, hash or full
}

// Log is [log].
type Log struct{ Level, Format, Syslog string }

// Default returns the configuration of an empty file.
func Default() *Config {
	return &Config{
		Listen:          []Listener{{"unix", "/var/spool/postfix/signpost/milter.sock"}},
		SocketMode:      0o660,
		SocketGroup:     "postfix",
		TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		StateDir:        "/var/lib/signpost",
		DNS:             DNS{Timeout: 5 * time.Second, MessageTimeout: 20 * time.Second},
		Sign:            Sign{Subdomains: true, Expire: 7 * 24 * time.Hour, OnMissingKey: "tempfail"},
		Verify:          Verify{HostileFrom: "refuse"},
		DMARC:           DMARC{Reject: "evidence", Quarantine: "tag", TempError: "accept"},
		SPF:             SPF{Fail: "dmarc"},
		Keys: Keys{Algorithms: []string{"rsa"}, RSABits: 2048, RotateEvery: 90 * 24 * time.Hour,
			RetireAfter: 14 * 24 * time.Hour, KeepRevoked: 30 * 24 * time.Hour},
		Publish: Publish{Method: "manual", TTL: time.Hour, Timeout: 30 * time.Second},
		Journal: Journal{Enabled: true, Keep: 14 * 24 * time.Hour, MaxSize: 512 << 20, Addresses: "omit"},
		Log:     Log{Level: "info", Format: "text"},
	}
}

// KeysDir is where the keys are.
func (c *Config) KeysDir() string {
	if c.Sign.KeysDir != "" {
		return c.Sign.KeysDir
	}
	return filepath.Join(c.StateDir, "keys")
}

// HostedDir is where the hosted domains are kept.
func (c *Config) HostedDir() string { return filepath.Join(c.StateDir, "hosted") }

// ObservedDir is where the daemon keeps its observations of unmanaged keys.
func (c *Config) ObservedDir() string { return filepath.Join(c.StateDir, "observed") }

// JournalFile is the database of the journal.
func (c *Config) JournalFile() string { return filepath.Join(c.StateDir, "journal", "journal.db") }

// PublishFor returns how a domain's records get into DNS.
func (c *Config) PublishFor(domain string) Publish {
	if p, ok := c.PublishDomain[domain]; ok {
		return p
	}
	return c.Publish
}

// PublishTable returns the name of the table that sets how a domain's records get into DNS by UPDATE: "publish", or that of the
// domain where it differs.
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

// NameServers returns all servers that the configuration names, with their ports.
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

// TagUnhandled reports whether tagged mail may reach the inbox: this configuration tags mail, and does not state that
// anything acts on the tag. Mail in Postfix's hold queue is not tagged.
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

// Place returns FILE:LINE of the value of a key that counts, or "" if no file sets it. In the key, names of domains are not quoted.
func (c *Config) Place(key string) string {
	at, ok := c.places[key]
	if !ok || at.line == 0 {
		return ""
	}
	return c.Files[at.file] + ":" + strconv.Itoa(at.line)
}
