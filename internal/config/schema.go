package config

import (
	"fmt"
	"io/fs"
	"net/netip"
	"time"
)

// Config is the configuration with every default filled in.
type Config struct {
	Observe         bool // mode = "observe"
	Listen          []Listener
	SocketMode      fs.FileMode
	SocketGroup     string
	AuthservID      string // empty: the host name of the MTA
	AuthservAliases []string
	TrustedNetworks []netip.Prefix
	StateDir        string

	RecipientDelimiter string

	DNS     DNS
	Domains Domains
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
	Reports       Reports
	MetricsListen string
	Log           Log
	Cluster       Cluster
	Shared        Shared // set by ReadShared

	Files     []string   // the files that Load read, in order
	Overrides []Override // the keys that more than one file sets

	rights map[Listener]rights // the sockets whose mode or group differs from that of all sockets
	tree   map[string]any      // the merged files
	places map[string]place
}

// Listener is a socket to which Postfix connects.
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

// Domains is [domains].
type Domains struct {
	Tables  []string // TYPE:NAME, as in main.cf
	Server  Listener // of signpost tables serve
	Timeout time.Duration
}

// Sign is [sign].
type Sign struct {
	KeysDir      string // empty: STATE_DIR/keys
	Domains      []string
	Subdomains   bool
	Expire       time.Duration
	OnMissingKey string
	LoginDomains map[string][]string // login, lower case -> domains

	LoginMaps     []string // TYPE:NAME, as in main.cf; empty: not checked
	LoginLocal    []string // the domains for which the local part alone is a key too
	LoginUnlisted string   // "accept" or "reject"
	LoginSender   bool
	LoginMismatch string // "reject" or "log"
}

// Verify is [verify].
type Verify struct {
	SkipNetworks []netip.Prefix
	HostileFrom  string
}

// DMARC is [dmarc].
type DMARC struct {
	Reject, Quarantine, TempError string
	QuarantineHandled             bool // the operator states that a filter handles the tag
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
	RotateGiven bool          // a file sets RotateEvery; if no file does and publish.method is manual, RotateEvery is "never"
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

// Reports is [reports].
type Reports struct {
	SMTP    string // HOST:PORT of the SMTP server that accepts the reports
	Send    SendReports
	Receive ReceiveReports
}

// SendReports is [reports.send].
type SendReports struct {
	Enabled            bool
	Observe            bool // send reports also if mode = "observe"
	OrgName            string
	From               string // the header From of reports; empty: not set. Its domain is the domain of the reports
	Contact            string // the address in a report for questions; empty: From
	Exclude            []string
	PerDay             int
	PerDestinationHour int
	Retention          time.Duration
}

// ReceiveReports is [reports.receive].
type ReceiveReports struct {
	Addresses        []string // lower case, the domains as A-labels
	Discard          bool
	Networks         []netip.Prefix // of this site, in addition to the addresses of this host
	KnownSources     []netip.Prefix // other systems that send in our name
	TrustedReporters []string
	Retention        time.Duration
	MaxSize          int64 // bytes
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
		Domains:         Domains{Server: Listener{"unix", "/run/signpost-tables/socket"}, Timeout: 2 * time.Second},
		Sign:            Sign{Subdomains: true, Expire: 7 * 24 * time.Hour, OnMissingKey: "tempfail", LoginUnlisted: "accept", LoginMismatch: "reject"},
		Verify:          Verify{HostileFrom: "refuse"},
		DMARC:           DMARC{Reject: "evidence", Quarantine: "tag", TempError: "accept"},
		SPF:             SPF{Fail: "dmarc"},
		Keys: Keys{Algorithms: []string{"rsa"}, RSABits: 2048, RotateEvery: 90 * 24 * time.Hour,
			RetireAfter: 14 * 24 * time.Hour, KeepRevoked: 30 * 24 * time.Hour},
		Publish: Publish{Method: "manual", TTL: time.Hour, Timeout: 30 * time.Second},
		Journal: Journal{Enabled: true, Keep: 14 * 24 * time.Hour, MaxSize: 512 << 20, Addresses: "omit"},
		Reports: Reports{SMTP: "127.0.0.1:25", Send: SendReports{PerDay: 5000, PerDestinationHour: 200, Retention: 30 * 24 * time.Hour},
			Receive: ReceiveReports{Retention: 400 * 24 * time.Hour, MaxSize: 1 << 30}},
		Log:     Log{Level: "info", Format: "text"},
		Cluster: Cluster{KeyFile: "/etc/signpost/cluster.key", Socket: "/run/signpost-cluster/socket", Ship: "failed"},
	}
}

// setter sets a value from the file in a Config. It returns an error if the value is not allowed.
type setter func(c *Config, v any) error

// schema returns all keys. dist/signpost.toml documents each of them with its default.
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

		"recipient_delimiter": func(c *Config, v any) error { return delimiter(&c.RecipientDelimiter, v) },

		"dns.servers":         func(c *Config, v any) error { return servers(&c.DNS.Servers, v) },
		"dns.timeout":         func(c *Config, v any) error { return duration(&c.DNS.Timeout, v, time.Millisecond, time.Minute) },
		"dns.message_timeout": func(c *Config, v any) error { return duration(&c.DNS.MessageTimeout, v, time.Second, 100*time.Second) },

		"domains.tables": func(c *Config, v any) error { return tables(&c.Domains.Tables, v) },
		"domains.server": func(c *Config, v any) error { return tableServer(&c.Domains.Server, v) },
		"domains.timeout": func(c *Config, v any) error {
			return duration(&c.Domains.Timeout, v, 100*time.Millisecond, 30*time.Second)
		},

		"sign.keys_dir":       func(c *Config, v any) error { return absolute(&c.Sign.KeysDir, v, true) },
		"sign.domains":        func(c *Config, v any) error { return domains(&c.Sign.Domains, v) },
		"sign.subdomains":     func(c *Config, v any) error { return boolean(&c.Sign.Subdomains, v) },
		"sign.expire":         func(c *Config, v any) error { return duration(&c.Sign.Expire, v, time.Hour, 90*day) },
		"sign.on_missing_key": func(c *Config, v any) error { return word(&c.Sign.OnMissingKey, v, "tempfail", "hold", "accept") },
		"sign.login_domains":  func(c *Config, v any) error { return logins(&c.Sign.LoginDomains, v) },
		"sign.login_maps":     func(c *Config, v any) error { return tables(&c.Sign.LoginMaps, v) },
		"sign.login_local":    func(c *Config, v any) error { return domains(&c.Sign.LoginLocal, v) },
		"sign.login_unlisted": func(c *Config, v any) error { return word(&c.Sign.LoginUnlisted, v, "accept", "reject") },
		"sign.login_sender":   func(c *Config, v any) error { return boolean(&c.Sign.LoginSender, v) },
		"sign.login_mismatch": func(c *Config, v any) error { return word(&c.Sign.LoginMismatch, v, "reject", "log") },

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

		"reports.smtp":                      func(c *Config, v any) error { return hostPort(&c.Reports.SMTP, v, "127.0.0.1:25") },
		"reports.send.enabled":              func(c *Config, v any) error { return boolean(&c.Reports.Send.Enabled, v) },
		"reports.send.observe":              func(c *Config, v any) error { return boolean(&c.Reports.Send.Observe, v) },
		"reports.send.org_name":             func(c *Config, v any) error { return text(&c.Reports.Send.OrgName, v) },
		"reports.send.from":                 func(c *Config, v any) error { return mailbox(&c.Reports.Send.From, v) },
		"reports.send.contact":              func(c *Config, v any) error { return mailbox(&c.Reports.Send.Contact, v) },
		"reports.send.exclude":              func(c *Config, v any) error { return domains(&c.Reports.Send.Exclude, v) },
		"reports.send.per_day":              func(c *Config, v any) error { return number(&c.Reports.Send.PerDay, v, 1, 1_000_000) },
		"reports.send.per_destination_hour": func(c *Config, v any) error { return number(&c.Reports.Send.PerDestinationHour, v, 1, 100_000) },
		"reports.send.retention":            func(c *Config, v any) error { return duration(&c.Reports.Send.Retention, v, 7*day, 3650*day) },

		"reports.receive.addresses":         func(c *Config, v any) error { return reportAddresses(&c.Reports.Receive.Addresses, v) },
		"reports.receive.discard":           func(c *Config, v any) error { return boolean(&c.Reports.Receive.Discard, v) },
		"reports.receive.networks":          func(c *Config, v any) error { return networks(&c.Reports.Receive.Networks, v) },
		"reports.receive.known_sources":     func(c *Config, v any) error { return networks(&c.Reports.Receive.KnownSources, v) },
		"reports.receive.trusted_reporters": func(c *Config, v any) error { return domains(&c.Reports.Receive.TrustedReporters, v) },
		"reports.receive.retention":         func(c *Config, v any) error { return duration(&c.Reports.Receive.Retention, v, 30*day, 3650*day) },
		"reports.receive.max_size":          func(c *Config, v any) error { return size(&c.Reports.Receive.MaxSize, v, 32<<20, 1<<40) },

		"metrics.listen": func(c *Config, v any) error { return hostPort(&c.MetricsListen, v, "127.0.0.1:9890") },

		"cluster.database": func(c *Config, v any) error { return database(&c.Cluster.Database, v) },
		"cluster.name":     func(c *Config, v any) error { return clusterName(&c.Cluster.Name, v) },
		"cluster.key_file": func(c *Config, v any) error { return absolute(&c.Cluster.KeyFile, v, false) },
		"cluster.socket":   func(c *Config, v any) error { return socketPath(&c.Cluster.Socket, v) },
		"cluster.ship":     func(c *Config, v any) error { return word(&c.Cluster.Ship, v, "failed", "none") },
		"cluster.keep":     func(c *Config, v any) error { return copiesKept(&c.Cluster.Keep, v) },

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

// publishSchema returns the keys of [publish] and of each [publish.domain.NAME].
func publishSchema() map[string]func(p *Publish, v any) error {
	return map[string]func(p *Publish, v any) error{
		"method":    func(p *Publish, v any) error { return word(&p.Method, v, PublishMethods()...) },
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

// PublishMethods returns the values of publish.method. Publisher in internal/setup implements all but manual.
func PublishMethods() []string { return []string{"manual", "zonefile", "rfc2136", "command"} }

// needs adds an error for each key that the method of [table] requires and that neither this table nor [publish] sets.
func (p *reader) needs(table, method string) {
	needed := map[string][]string{"rfc2136": {"server", "tsig_name", "tsig_algorithm", "tsig_secret_file"}, "zonefile": {"path"}, "command": {"argv"}}
	for _, k := range needed[method] {
		if !p.given[table+"."+k] && !p.given["publish."+k] {
			p.fault(table+".method", fmt.Sprintf("%q requires publish.%s", method, k))
		}
	}
}
