package setup

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/doctor/domain"
	"signpost/internal/doctor/host"
	"signpost/internal/doctor/postfix"
	"signpost/internal/doctor/reports"
	"signpost/internal/owner"
	"signpost/keys"
	"signpost/keys/publish"
)

// Doctor runs the checks of signpost doctor.
type Doctor struct {
	Config    *config.Config // the default configuration if Faulty is not nil
	File      string         // the configuration file
	Faulty    error          // the error of the configuration; nil if it is valid
	Postfix   string         // Postfix's configuration directory; empty: postconf's default
	Addresses []netip.Addr   // the addresses that this host sends from; empty: detected
	Selectors []string       // the DKIM selectors to check in addition to those of this host
	Inbound   func(context.Context) host.Inbound
	Unkeyed   func(context.Context) []string   // for host.Tables
	Progress  func(format string, args ...any) // called before steps that may take a long time
}

// Run checks domains and returns the arranged findings. If domains is empty, it checks this host, Postfix, and the domains that have keys
// here.
func (d Doctor) Run(ctx context.Context, domains ...string) ([]doctor.Finding, error) {
	found, err := d.find(ctx, domains...)
	return doctor.Arrange(found), err
}

func (d Doctor) find(ctx context.Context, domains ...string) (found []doctor.Finding, err error) {
	log := slog.New(slog.DiscardHandler)
	resolver, noResolver := Resolver(d.Config, time.Now, log)
	if noResolver != nil && len(domains) > 0 {
		return nil, noResolver
	}
	set, unread := KeyStore(d.Config).Load(nil)
	if len(domains) == 0 {
		d.Progress("checking this host and Postfix")
		f := HostFacts(d.Config, d.File, d.Faulty, time.Now())
		f.KeysErr, f.ResolverErr, f.Inbound = unread, noResolver, d.Inbound(ctx)
		if len(f.Tables.Names) > 0 {
			f.Tables.Ask, f.Tables.Unkeyed = d.askTable, d.Unkeyed(ctx)
		}
		found = doctor.Run(ctx, slices.Concat(host.Checks(f), postfix.Checks(PostfixFacts(d.Config, d.File, d.Postfix))))
		if d.Config.Reports.Send.Enabled && noResolver == nil {
			found = append(found, doctor.Run(ctx, reports.Checks(ReportFacts(d.Config, resolver, set, d.Postfix)))...)
		}
		if len(d.Config.Reports.Receive.Addresses) > 0 && noResolver == nil {
			found = append(found, doctor.Run(ctx, reports.ReceivedChecks(ReceivedFacts(d.Config, resolver, set, d.Postfix)))...)
		}
		if unread == nil && noResolver == nil {
			domains = set.Domains()
		}
	}
	if len(domains) == 0 {
		return found, nil
	}
	authority, err := Authority(d.Config, resolver, time.Now, log)
	if err != nil {
		return nil, err
	}
	published, err := d.domains(ctx, authority, set, domains)
	return append(found, published...), err
}

// Domain runs the checks of the DNS records of one domain. hosted reports whether this host has keys of it.
func (d Doctor) Domain(ctx context.Context, name string) (findings []doctor.Finding, found domain.Found, hosted bool, err error) {
	log := slog.New(slog.DiscardHandler)
	resolver, err := Resolver(d.Config, time.Now, log)
	if err != nil {
		return nil, found, false, err
	}
	authority, err := Authority(d.Config, resolver, time.Now, log)
	if err != nil {
		return nil, found, false, err
	}
	set, err := KeyStore(d.Config).Load(nil)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, found, false, err
	}
	host, facts, err := d.facts(ctx, authority, set, []string{name})
	if err != nil {
		return nil, found, false, err
	}
	findings, found = domain.Examine(ctx, facts[0])
	return doctor.Arrange(append(host, findings...)), found, facts[0].Own != nil, nil
}

// domains checks the DNS records of domains. For those that have keys here, it compares the records with this host. The parameter set
// may be nil.
func (d Doctor) domains(ctx context.Context, authority *dns.Authority, set *keys.Set, domains []string) (found []doctor.Finding, err error) {
	found, all, err := d.facts(ctx, authority, set, domains)
	if err != nil {
		return nil, err
	}
	return append(found, domain.RunAll(ctx, all, func(name string) { d.Progress("checking the DNS records of %q", name) })...), nil
}

// facts returns the facts about domains, and the findings about this host as other servers see it.
func (d Doctor) facts(ctx context.Context, authority *dns.Authority, set *keys.Set, domains []string) (found []doctor.Finding, all []domain.Facts, err error) {
	ours := func(domain string) bool { return set != nil && len(set.Of(domain)) > 0 }
	if len(d.Addresses) > 0 && !slices.ContainsFunc(domains, ours) {
		return nil, nil, cli.Usage(fmt.Errorf("--address: %q is not a domain that this host signs for; use signpost spf DOMAIN IP to check an address", domains[0]))
	}
	var sender domain.Sender
	if slices.ContainsFunc(domains, ours) {
		found = doctor.Run(ctx, domain.HostChecks(domain.Host{Given: d.Addresses, Domain: domains[slices.IndexFunc(domains, ours)], Resolver: authority.Resolver, Postconf: postfix.Postconf(d.Postfix)}, &sender))
	}
	for _, name := range domains {
		f := domain.Facts{Domain: name, Resolver: authority.Resolver, Checker: &keys.Checker{Authority: authority}, Selectors: d.Selectors}
		if ours(name) {
			f.Own = &domain.Own{Sender: sender, Keys: set.Of(name)}
		}
		all = append(all, f)
	}
	return found, all, nil
}

// askTable looks up a name that no table should have, because only the answer matters. The name is always another one. Otherwise, in an outage,
// the server would return its known answer.
func (d Doctor) askTable(ctx context.Context, table string) error {
	ctx, cancel := context.WithTimeout(ctx, d.Config.Domains.Timeout)
	defer cancel()
	_, err := TableServers(d.Config).Lookup(ctx, table, strings.ToLower(rand.Text())+".invalid")
	return err
}

// HostFacts returns the facts that the checks of this host take from the configuration. The caller adds the other facts.
func HostFacts(conf *config.Config, file string, faulty error, now time.Time) host.Facts {
	f := host.Facts{File: file, Missing: !config.Exists(file), Concerns: Concerns(conf, now), Files: configFiles(conf, file),
		StateDir: conf.StateDir, KeysDir: conf.KeysDir(), Written: []string{conf.HostedDir(), conf.ObservedDir(), conf.LocksDir(), filepath.Dir(conf.JournalFile())},
		Tables: host.Tables{Names: conf.Tables()}, Cluster: clusterFacts(conf),
		Observe: conf.Observe, ModePlace: conf.Place("mode"), SkipNetworks: conf.Verify.SkipNetworks, Decided: slices.Clone(conf.DMARC.TrustedForwarders)}
	for _, forwarder := range slices.Concat(conf.DMARC.Forwarders, conf.Shared.Forwarders) {
		if now.Before(forwarder.Expires) {
			f.Decided = append(f.Decided, forwarder.Network)
		}
	}
	for _, rule := range slices.Concat(conf.Deny, conf.Shared.Deny) {
		if now.Before(rule.Expires) {
			f.Decided = append(f.Decided, rule.Network)
		}
	}
	if faulty == nil {
		return f
	}
	all := config.Errors{faulty}
	errors.As(faulty, &all)
	for _, err := range all {
		var at config.Error
		errors.As(err, &at)
		f.Faults = append(f.Faults, host.Fault{Err: err, File: at.File, Line: at.Line})
	}
	return f
}

func clusterFacts(conf *config.Config) host.Cluster {
	if !conf.Clustered() {
		return host.Cluster{}
	}
	c := host.Cluster{Status: ClusterStatus(conf), KeyFile: conf.Cluster.KeyFile}
	if conf.Cluster.Database.Password() {
		place := conf.Place("cluster.database")
		c.Secret = place[:max(0, strings.LastIndexByte(place, ':'))]
	}
	return c
}

// PostfixFacts returns the facts that the checks of Postfix take from the configuration. The parameter dir is Postfix's configuration
// directory.
func PostfixFacts(conf *config.Config, file, dir string) postfix.Facts {
	f := postfix.Facts{Dir: dir, File: file, Observe: conf.Observe, SocketMode: conf.SocketMode, SocketGroup: conf.SocketGroup,
		TrustedNetworks: conf.TrustedNetworks, SkipNetworks: conf.Verify.SkipNetworks,
		LoginMaps: conf.Sign.LoginMaps, LoginUnlisted: conf.Sign.LoginUnlisted, Delimiter: conf.RecipientDelimiter,
		Lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}}
	for _, ln := range conf.Listen {
		mode, group := conf.Rights(ln)
		f.Listen = append(f.Listen, postfix.Listener{Network: ln.Network, Address: ln.Address, Mode: mode, Group: group})
	}
	f.Addresses = hostAddresses()
	return f
}

// hostAddresses returns the addresses of the interfaces of this host.
func hostAddresses() (all []netip.Addr) {
	addresses, _ := net.InterfaceAddrs() // on error, only loopback addresses count as addresses of this host
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p.Addr().Unmap())
		}
	}
	return all
}

// OwnNetworks returns the networks from which this site sends mail: reports.receive.networks, and the addresses of this host.
func OwnNetworks(conf *config.Config) []netip.Prefix {
	all := slices.Clone(conf.Reports.Receive.Networks)
	for _, a := range hostAddresses() {
		all = append(all, netip.PrefixFrom(a, a.BitLen()))
	}
	return all
}

// configFiles returns the files and directories of a configuration that the daemon must be able to read. They are its files, the
// directory conf.d, and the files of accepted forwarders and of shared rules.
func configFiles(conf *config.Config, file string) []string {
	return append(slices.Clone(conf.Files), config.DropIns(file), conf.DMARC.ForwardersFile, conf.SharedFile())
}

// Concerns returns the warnings of check-config and doctor about a valid configuration. An empty Where means the configuration file.
func Concerns(conf *config.Config, now time.Time) (all []doctor.Finding) {
	if conf.TagUnhandled() {
		all = append(all, doctor.Finding{Level: doctor.Red, Where: conf.Place("dmarc.quarantine_handled"), What: "dmarc.quarantine_handled is false: no filter handles the tag of quarantined mail",
			Why: "without a filter for X-Signpost-Disposition, quarantined mail is delivered to the inbox",
			Fix: "quarantine_handled = true # in [dmarc], after you install junk.sieve or milter_header_checks: docs/observe.md, \"Quarantined mail\""})
	}
	for _, entry := range Expired(conf, now) {
		all = append(all, doctor.Finding{What: "expired and ignored: " + entry, Why: "an expired entry no longer accepts or rejects mail",
			Fix: "expires = " + now.AddDate(1, 0, 0).Format(time.DateOnly) + " # or remove the entry"})
	}
	if _, err := os.Stat(conf.DMARC.ForwardersFile); conf.DMARC.ForwardersGiven && errors.Is(err, fs.ErrNotExist) {
		all = append(all, doctor.Finding{What: "dmarc.forwarders_file: " + conf.DMARC.ForwardersFile + " does not exist", Where: conf.Place("dmarc.forwarders_file"), Why: "mail of accepted mailing lists and forwarders may be rejected", Fix: "signpost forwarders"})
	}
	if conf.MetricsOpen() {
		_, port, _ := net.SplitHostPort(conf.MetricsListen)
		all = append(all, doctor.Finding{What: OpenMetrics, Where: conf.Place("metrics.listen"), Why: "the metrics are not protected by a password", Fix: `metrics.listen = "127.0.0.1:` + port + `"`})
	}
	if slices.Equal(conf.Keys.Algorithms, []string{"ed25519"}) {
		all = append(all, doctor.Finding{What: `keys.algorithms: many receivers cannot verify signatures if "ed25519" is the only algorithm`, Where: conf.Place("keys.algorithms"), Why: keys.Ed25519Alone,
			Fix: `algorithms = ["rsa", "ed25519"] # in [keys]`})
	}
	return append(all, tsigConcerns(conf)...)
}

// tsigConcerns returns the warnings about the TSIG secrets of all publish tables. They do not prevent the daemon from starting, since only
// dkimkey uses the secrets.
func tsigConcerns(conf *config.Config) (all []doctor.Finding) {
	read := map[string]bool{}
	for _, domain := range append([]string{""}, slices.Sorted(maps.Keys(conf.PublishDomain))...) {
		p, table := conf.PublishFor(domain), conf.PublishTable(domain)
		if p.Method != "rfc2136" || read[table] {
			continue
		}
		read[table] = true
		file := p.TSIGSecretFile
		_, err := publish.ReadTSIGSecret(file, p.TSIGName, p.TSIGAlgorithm)
		reader, denied := unreadableFor(file, conf.KeysDir())
		if err == nil {
			err = denied
		}
		if err == nil {
			continue
		}
		fix := fmt.Sprintf("tsig_secret_file = %q # a file of mode 0600 with the secret of key %q, in [%s]", file, p.TSIGName, table)
		fi, noFile := os.Stat(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			fix = fmt.Sprintf("(umask 077; tsig-keygen -a %s %s > %s) && chown %s %s", p.TSIGAlgorithm, p.TSIGName, file, reader, file)
		case errors.Is(err, fs.ErrPermission), noFile == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o007 != 0:
			fix = fmt.Sprintf("chown %s %s && chmod 0600 %s", reader, file, file)
		}
		all = append(all, doctor.Finding{What: table + ".tsig_secret_file: " + err.Error(), Why: "dkimkey cannot publish records", Fix: fix,
			Where: cmp.Or(conf.Place("publish.domain."+domain+".tsig_secret_file"), conf.Place("publish.tsig_secret_file"))})
	}
	return all
}

// unreadableFor returns the owner of the keys directory, which is the user of the timer for dkimkey. It returns an error if root can read
// the file but this user cannot. If it cannot find out whether this user can read the file, it returns no error.
func unreadableFor(file, dir string) (name string, err error) {
	of, err := os.Stat(dir)
	if err != nil {
		return "signpost", nil
	}
	uid := doctor.PermissionsOf(of).UID
	name = doctor.UserName(uid)
	fi, err := os.Stat(file)
	if err != nil || os.Geteuid() != 0 || uid == 0 {
		return name, nil
	}
	p := doctor.PermissionsOf(fi)
	if p.UID == uid && p.Mode.Perm()&0o400 != 0 || p.Mode.Perm()&0o040 != 0 { // the user may be a member of the group
		return name, nil
	}
	return name, fmt.Errorf("%s: user %s, the owner of %s, cannot read the file: %w", file, name, dir, fs.ErrPermission)
}

// Unreadable returns an error if root can read the configuration but the user of the daemon, who owns state_dir, cannot. If --config names
// a file in a directory that this user cannot search, the file is a draft. No daemon reads it.
func Unreadable(conf *config.Config, file string, given bool) error {
	fi, err := os.Stat(conf.StateDir)
	if err != nil || os.Geteuid() != 0 {
		return nil
	}
	of := doctor.PermissionsOf(fi)
	back, err := owner.Act(filepath.Join(conf.StateDir, "keys"))
	if err != nil {
		return err
	}
	var denied []string
	if _, err := os.Stat(file); err == nil || !given {
		for _, path := range configFiles(conf, file) {
			f, err := os.Open(path)
			if err == nil {
				f.Close()
			}
			if errors.Is(err, fs.ErrPermission) {
				denied = append(denied, path)
			}
		}
	}
	if err := back(); err != nil {
		return err
	}
	for i, path := range denied {
		if denied[i], err = filepath.Abs(path); err != nil {
			return err
		}
	}
	var all config.Errors
	// Act does not set supplementary groups.
	for _, f := range host.Unreadable(of.UID, of.GID, denied) {
		all = append(all, fmt.Errorf("%s (%s)\nhint: %s", f.What, f.Where, f.Fix))
	}
	if len(all) == 0 {
		return nil
	}
	return cli.Usage(all)
}
