// Package domain checks the DNS records of domains, and the name and addresses of this host as other servers see them. Checks and
// HostChecks return the checks; Facts and Host are their input.
package domain

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/domain"
	"signpost/internal/spf"
	"signpost/keys"
)

// Facts are what the checks of a domain need to know.
type Facts struct {
	Domain   string
	Own      *Own // nil: not a domain of this host
	Resolver *dns.Resolver
	// Checker queries the authoritative name servers for the keys of Own; nil: only Resolver is used.
	Checker *keys.Checker
	// Selectors are selectors to check in addition to those of Own: DNS does not list them.
	Selectors []string

	SMTPPort  uint16 // the port of the mail exchanges; 0: 25
	HTTPSPort uint16 // the port of the web server for MTA-STS policies; 0: 443
	// Dial connects to mail exchanges and web servers; nil: net.Dialer.
	Dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	Roots *x509.CertPool // nil: the system's
}

// Own has the facts about a domain of this host.
type Own struct {
	Sender
	Keys []*keys.Key // the domain's
}

// Bounds on one domain.
const (
	// maxTime is the timeout for all checks of a domain: an administrator waits for them.
	maxTime = 60 * time.Second
	// maxQueries is several times the number of queries for the largest legitimate SPF tree and all other checks.
	maxQueries = 250
	// maxPeer is the timeout for one server.
	maxPeer = 10 * time.Second
)

// examination is the common state of the checks of one domain. Each check adds its findings to the field all.
type examination struct {
	Facts
	view   *dns.View // nil if Domain is not a domain name
	domain string
	host   bool // the checks concern this host
	own    *Own
	check  string // the present one
	all    []doctor.Finding
	found  *Found // the numbers of SPF, and what is absent
	// failures are the failed lookups that a finding has already reported.
	failures []string

	exchanges []string         // the mail exchanges, without final dots; empty: not found
	nullMX    bool             // the domain accepts no mail: RFC 7505
	signed    bool             // DNSSEC validates the MX records
	spfText   string           // the SPF record
	tree      []doctor.Finding // of spf-tree
	rua       []doctor.Finding // of dmarc-rua
	dmarcFor  string           // the policy that receivers apply to forged mail; empty: none
	dmarcSub  string
	dmarcName string // the name of the record that applies
	dmarcText string // its text
}

// RunAll runs the checks of several domains, one domain after the other, and sets the field Domain of the findings. It calls begin before
// each domain. If no DNS server answers, it stops, because the finding is the same for all domains.
func RunAll(ctx context.Context, domains []Facts, begin func(domain string)) (all []doctor.Finding) {
	for _, f := range domains {
		begin(f.Domain)
		answers := f.Resolver.RootAnswers(ctx)
		for _, found := range Run(ctx, f) {
			found.Domain = cmp.Or(found.Domain, f.Domain)
			all = append(all, found)
		}
		if !answers {
			break
		}
	}
	return all
}

// Found is what the checks of a domain found, in addition to the findings.
type Found struct {
	Exchanges  []string `json:"mail_exchanges"` // without final dots
	NullMX     bool     `json:"null_mx,omitempty"`
	SPF        string   `json:"spf_record,omitempty"`
	SPFLookups int      `json:"spf_lookups"` // that an SPF check may need; the limit is 10
	SPFVoid    int      `json:"spf_void_lookups"`
	DMARCName  string   `json:"dmarc_name,omitempty"` // of the record that applies
	DMARC      string   `json:"dmarc_record,omitempty"`
	Policy     string   `json:"dmarc_policy,omitempty"` // that receivers apply: none, quarantine, reject, or testing
	// Absent has the optional checks whose records do not exist: mta-sts, tlsrpt, bimi, dane.
	Absent []string `json:"absent"`
	// TLSA has the records of the present certificates of the mail exchanges, as lines of a zone file, if none has a TLSA record and DNSSEC would validate them.
	TLSA []string `json:"tlsa,omitempty"`
}

// Run runs the checks of a domain. It stops after one minute.
func Run(ctx context.Context, f Facts) []doctor.Finding {
	all, _ := Examine(ctx, f)
	return all
}

// Examine is Run, and also returns what the checks found.
func Examine(ctx context.Context, f Facts) ([]doctor.Finding, Found) {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	l := newExamination(f)
	all := doctor.Run(ctx, l.checks())
	found := *l.found
	found.Exchanges, found.NullMX, found.SPF = append([]string{}, l.exchanges...), l.nullMX, l.spfText
	found.DMARCName, found.DMARC, found.Policy = l.dmarcName, l.dmarcText, l.dmarcFor
	return all, found
}

// Checks returns the checks of a domain's DNS records. If Own is nil, they do not check its keys. A check may use the results of earlier
// checks.
func Checks(f Facts) []doctor.Check { return newExamination(f).checks() }

func newExamination(f Facts) *examination {
	l := &examination{Facts: f, own: f.Own, found: &Found{Absent: []string{}}}
	if f.Own != nil {
		l.failures = slices.Clone(f.Own.failures)
	}
	l.SMTPPort, l.HTTPSPort = cmp.Or(f.SMTPPort, 25), cmp.Or(f.HTTPSPort, 443)
	if l.Dial == nil {
		l.Dial = (&net.Dialer{Timeout: maxPeer}).DialContext
	}
	return l
}

func (l *examination) checks() []doctor.Check {
	check := func(name, doc string, run func(context.Context)) doctor.Check {
		return doctor.Check{Name: name, Doc: doc, Run: func(ctx context.Context) []doctor.Finding {
			l.check, l.all = name, nil
			if l.view != nil || name == "domain" {
				run(ctx)
			}
			l.place(ctx)
			return l.all
		}}
	}
	return []doctor.Check{
		check("domain", "the name, and whether any DNS server answers", l.checkName),
		check("mx", "the MX records, and the addresses of the mail exchanges", l.checkMX),
		check("spf", "the SPF record, and whether it allows this host", l.checkSPF),
		check("spf-tree", "the DNS lookups of an SPF check", func(context.Context) { l.all = l.tree }),
		check("dkim", "the records of the DKIM keys; keys of this host are checked at each name server of the domain", l.checkKeys),
		check("dmarc", "the DMARC record that applies", l.checkDMARC),
		check("dmarc-rua", "whether other organizations accept the reports", func(context.Context) { l.all = l.rua }),
		check("mta-sts", "the MTA-STS record and the policy", l.checkMTASTS),
		check("tlsrpt", "the TLSRPT record", l.checkTLSRPT),
		check("bimi", "the BIMI record, and the DMARC policy that it requires", l.checkBIMI),
		check("dane", "the TLSA records of the mail exchanges, DNSSEC, and the certificates", l.checkDANE),
	}
}

func (l *examination) checkName(ctx context.Context) {
	name, err := domain.ParseArgument(l.Domain)
	if err != nil || !strings.Contains(name, ".") {
		l.add(doctor.Finding{Level: doctor.Red, What: fmt.Sprintf("%q is not a domain name", l.Domain), Fix: "signpost doctor example.org"})
		return
	}
	if !l.Resolver.RootAnswers(ctx) {
		l.add(doctor.Finding{Level: doctor.Red, First: true, What: "no DNS server answers", Where: ". IN NS: no answer",
			Why: "doctor did not check the domains; the daemon replies 451 to mail that needs a DNS lookup", Fix: "dig . NS # then the same with @ADDRESS for each of dns.servers in signpost.toml"})
		return
	}
	l.domain, l.view = name, l.Resolver.View(netip.Addr{}).Limit(maxQueries)
}

// place changes the Fix of all findings to names at which the records can be published.
func (l *examination) place(ctx context.Context) {
	for i, f := range l.all {
		if l.view != nil {
			l.all[i].Fix = l.placed(ctx, f.Fix)
		}
	}
}

func (l *examination) add(f doctor.Finding) { l.all = append(l.all, f) }

func (l *examination) good(what, where string) {
	l.add(doctor.Finding{Level: doctor.Green, What: what, Where: where})
}

// text returns the TXT records of a name. It returns no error if there are none, or if the CNAME records form a loop.
func (l *examination) text(ctx context.Context, name string) ([]string, error) {
	all, err := l.view.LookupTXT(ctx, name)
	if err != nil && (spf.IsNotFound(err) || l.chainOf(ctx, name).loops) {
		return nil, nil
	}
	return all, err
}

// optional returns the TXT records of a name. If it finds none, it adds a finding: either the lookup failed, or the domain has no such
// record.
func (l *examination) optional(ctx context.Context, name, lack string) []string {
	all, err := l.text(ctx, name)
	switch {
	case err != nil:
		l.unknown(ctx, name, err)
	case len(all) > 0:
	case l.chainOf(ctx, name).isAlias():
		c := l.chainOf(ctx, name)
		l.add(doctor.Finding{Level: doctor.Yellow, What: name + " is an alias without a TXT record at its target", Where: c.absent("TXT"),
			Why: "the owner of the target can publish a record for " + l.domain, Fix: "; remove " + c.names[0] + ". IN CNAME " + c.names[1] + "."})
	default:
		l.found.Absent = append(l.found.Absent, l.check)
		l.good(l.domain+" "+lack+", which is optional", name+": no TXT record")
	}
	return all
}

// only returns the texts for which keep returns true.
func only(all []string, keep func(string) bool) []string {
	return slices.DeleteFunc(slices.Clone(all), func(t string) bool { return !keep(t) })
}

// addrs returns all addresses of a name. It returns no error if there are none, or if the CNAME records form a loop.
func (l *examination) addrs(ctx context.Context, name string) ([]netip.Addr, error) {
	four, err := l.view.LookupA(ctx, name)
	if err == nil || spf.IsNotFound(err) {
		var six []netip.Addr
		six, err = l.view.LookupAAAA(ctx, name)
		four = append(slices.Clip(four), six...)
	}
	if err == nil || spf.IsNotFound(err) || l.chainOf(ctx, name).loops {
		return four, nil
	}
	return nil, err
}

// record returns a TXT record as a line of a zone file.
func record(name, text string) string { return name + ". IN TXT " + dns.QuoteTXT(text, " ") }

func records(name string, all []string) string {
	return doctor.Join(all, "\n", func(text string) string { return record(name, text) })
}

// word returns a name from DNS as one word for sh(1), because an attacker may have chosen the name and the administrator runs the command.
func word(name string) string {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == "" && !strings.HasPrefix(name, "-") {
		return name
	}
	return doctor.Quote(name)
}
