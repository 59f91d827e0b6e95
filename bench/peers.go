package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// serverDir returns the directory of a server. Its path has no spaces, which would separate arguments in a configuration of Postfix.
func (w *world) serverDir(s *server) string {
	return filepath.Join(w.dir, strings.ReplaceAll(s.name, " ", "-"))
}

// configure creates the directory of a server, writes a configuration into it, and returns its path.
func (w *world) configure(s *server, name, text string) (string, error) {
	dir := w.serverDir(s)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	file := filepath.Join(dir, name)
	text = strings.NewReplacer("%DIR%", dir, "%KEY%", w.keyFile, "%SELECTOR%", selector).Replace(text)
	return file, os.WriteFile(file, []byte(text), 0o644)
}

// startPeer starts a program with a configuration. startPeer appends the path of the configuration to argv.
func (w *world) startPeer(ctx context.Context, s *server, name, conf string, argv ...string) error {
	file, err := w.configure(s, name+".conf", conf)
	if err != nil {
		return err
	}
	return s.start(ctx, w.serverDir(s), name+".sock", append(argv, file)...)
}

// OpenDKIM and OpenDMARC have Debian's settings. Only syslog is disabled, because it does not run here. That is an advantage for them.
const (
	openDKIMConf = `Socket local:%DIR%/opendkim.sock
PidFile %DIR%/opendkim.pid
Syslog no
UMask 000
RequireSafeKeys no
Mode sv
Canonicalization relaxed/relaxed
OversignHeaders From
Domain example.org
Selector %SELECTOR%
KeyFile %KEY%
InternalHosts 192.0.2.0/24
AuthservID mx.example.net
AlwaysAddARHeader yes
# Debian's asks the root servers otherwise.
Nameservers 127.0.0.1
`
	openDMARCConf = `Socket local:%DIR%/opendmarc.sock
PidFile %DIR%/opendmarc.pid
Syslog no
UMask 000
AuthservID mx.example.net
TrustedAuthservIDs mx.example.net
SPFSelfValidate true
SPFIgnoreResults true
RejectFailures true
`
)

// startOpenDKIM starts OpenDKIM. OpenDKIM signs mail. It verifies DKIM, but neither SPF nor DMARC.
func (w *world) startOpenDKIM(ctx context.Context) (*server, error) {
	s := &server{name: "opendkim", roles: []string{signing, verifying}}
	return s, w.addOpenDKIM(ctx, s)
}

func (w *world) addOpenDKIM(ctx context.Context, s *server) error {
	return w.startPeer(ctx, s, "opendkim", openDKIMConf, "/usr/sbin/opendkim", "-f", "-x")
}

// startOpenDMARC starts OpenDKIM, followed by OpenDMARC, which checks SPF itself.
func (w *world) startOpenDMARC(ctx context.Context) (*server, error) {
	s := &server{name: "opendkim+opendmarc", roles: []string{verifying}, spf: true}
	if err := w.addOpenDKIM(ctx, s); err != nil {
		return s, err
	}
	return s, w.startPeer(ctx, s, "opendmarc", openDMARCConf, "/usr/sbin/opendmarc", "-f", "-c")
}

// rspamdConf configures rspamd's milter proxy in self-scan mode. The proxy has one process, as in rspamd's worker-proxy.inc, and only those
// functions that Signpost has too.
const rspamdConf = `lua = "%RULES%";
options {
  filters = "dkim"; pidfile = "%DIR%/pid"; tempdir = "%DIR%"; control_socket = "%DIR%/control mode=0600";
  url_tld = "/usr/share/publicsuffix/effective_tld_names.dat"; cache_file = "%DIR%/symbols.cache";
  dns { nameserver = ["127.0.0.1:53"]; }
  local_addrs = ["192.0.2.0/24"];
}
logging { type = "console"; level = "info"; }
worker "rspamd_proxy" {
  bind_socket = "%DIR%/rspamd.sock mode=0666"; milter = yes; timeout = 120s; count = 1;
  upstream "local" { default = yes; self_scan = yes; }
}
spf { }
dkim { }
dmarc { actions = { reject = "reject"; quarantine = "add_header"; } }
dkim_signing { use_domain = "header"; sign_local = true; domain { example.org { path = "%KEY%"; selector = "%SELECTOR%"; } } }
milter_headers { use = ["authentication-results"]; }
actions { reject = 15; add_header = 10; greylist = null; }
modules {
  path = "/usr/share/rspamd/plugins/spf.lua";
  path = "/usr/share/rspamd/plugins/dmarc.lua";
  path = "/usr/share/rspamd/plugins/dkim_signing.lua";
  path = "/usr/share/rspamd/plugins/milter_headers.lua";
}
`

// These are the two configurations of rspamd. rspamd's own rules are the default of every installation. They check much more than Signpost
// does.
const (
	rspamdName  = "rspamd"
	rulesName   = "rspamd+rules"
	rspamdRules = "/usr/share/rspamd/rules/rspamd.lua"
)

// startRspamd starts rspamd with its own rules, or without them.
func (w *world) startRspamd(ctx context.Context, name string) (*server, error) {
	s := &server{name: name, roles: []string{signing, verifying}, spf: true}
	rules := rspamdRules
	if name == rulesName {
		s.only = judged
	} else {
		var err error
		if rules, err = w.configure(s, "empty.lua", ""); err != nil {
			return nil, err
		}
	}
	return s, w.startPeer(ctx, s, "rspamd", strings.ReplaceAll(rspamdConf, "%RULES%", rules), "rspamd", "-f", "-u", "root", "-g", "root", "--insecure", "-c")
}

const dkimpyName = "dkimpy-milter"

const dkimpyConf = `Socket local:%DIR%/dkimpy.sock
PidFile %DIR%/pid
UserID root
Syslog no
Mode sv
Canonicalization relaxed/relaxed
Domain example.org
Selector %SELECTOR%
KeyFile %KEY%
InternalHosts 192.0.2.0/24
AuthservID mx.example.net
`

func (w *world) startDkimpy(ctx context.Context) (*server, error) {
	s := &server{name: dkimpyName, roles: []string{signing, verifying}, slow: true}
	return s, w.startPeer(ctx, s, "dkimpy", dkimpyConf, "dkimpy-milter")
}

// starter starts one of the servers.
type starter struct {
	name  string
	start func() (*server, error)
}

// starters returns all servers in the order of the tables. The two settings of Signpost are measured directly after one another.
func (w *world) starters(ctx context.Context, o options) []starter {
	return []starter{
		{ours, func() (*server, error) { return w.startSignpost(ctx, ours, o.signpost) }},
		{noJournalName, func() (*server, error) { return w.startSignpost(ctx, noJournalName, o.signpost) }},
		{baselineName, func() (*server, error) { return w.startSignpost(ctx, baselineName, o.baseline) }},
		{"opendkim", func() (*server, error) { return w.startOpenDKIM(ctx) }},
		{"opendkim+opendmarc", func() (*server, error) { return w.startOpenDMARC(ctx) }},
		{rspamdName, func() (*server, error) { return w.startRspamd(ctx, rspamdName) }},
		{rulesName, func() (*server, error) { return w.startRspamd(ctx, rulesName) }},
		{dkimpyName, func() (*server, error) { return w.startDkimpy(ctx) }},
	}
}

// serverNames returns the names of all servers.
func serverNames() (names []string) {
	for _, s := range new(world).starters(context.Background(), options{}) {
		names = append(names, s.name)
	}
	return names
}

// startAll starts the selected servers.
func (w *world) startAll(ctx context.Context, o options) (all []*server, err error) {
	for _, p := range w.starters(ctx, o) {
		if p.name != baselineName && !o.wants(p.name) || p.name == baselineName && o.baseline == "" {
			continue
		}
		s, err := p.start()
		if s != nil {
			all = append(all, s)
		}
		if err != nil {
			return all, fmt.Errorf("starting %s: %w", p.name, err)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("the server %q needs -baseline", baselineName)
	}
	return all, nil
}
