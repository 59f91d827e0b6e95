package reports

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/report/status"
)

// Received are what Discover, and the checks of the receiving of reports, need to know.
type Received struct {
	Hosted    []string // domains with an active key
	Addresses []string // reports.receive.addresses
	Delimiter string   // recipient_delimiter
	Resolver  *dns.Resolver
	Postconf  func(ctx context.Context, args ...string) (string, error)
	// LastRun reads the result of the last run of signpost reports read. The error wraps fs.ErrNotExist if there was none.
	LastRun func() (status.Received, error)
	Now     func() time.Time
	// Ask is as in Facts.
	Ask func(ctx context.Context, table, key string) (value string, found bool, err error)
}

// ReceivedChecks returns the checks of reports.receive. They run only if it has addresses.
func ReceivedChecks(f Received) []doctor.Check {
	r := &receiving{Received: f}
	return []doctor.Check{
		{Name: "receive-recipient", Doc: "whether Postfix accepts mail to reports.receive.addresses: the tables of the recipients", Run: doctor.Or("Postfix accepts mail to the report addresses", r.recipients)},
		{Name: "receive-rua", Doc: "the rua of the DMARC and TLS-RPT records of the domains with keys, compared with reports.receive.addresses", Run: doctor.Or("the records of the domains name report addresses of reports.receive.addresses only", r.rua)},
		{Name: "receive-read", Doc: "the last run of signpost reports read", Run: doctor.Or("signpost reports read runs", r.read)},
		{Name: "receive-size", Doc: "message_size_limit", Run: doctor.Or("Postfix accepts reports of 10 MB", r.size)},
	}
}

// maxReadAge is the age from which the last run of signpost reports read is reported. The timer runs every ten minutes.
const maxReadAge = 24 * time.Hour

func (r *receiving) read(context.Context) []doctor.Finding {
	const why, timer = "reports are not read, and their number is limited", "systemctl enable --now signpost-reports.timer"
	last, err := r.LastRun()
	switch {
	case status.None(err):
		return yellow("signpost reports read has never run", "signpost-reports.timer", why, timer)
	case err != nil:
		return yellow("cannot read the result of signpost reports read", err.Error(), "it is not known whether reports are read", "sudo signpost reports read")
	case r.Now().Sub(last.LastRun) > maxReadAge:
		return yellow("signpost reports read has not run since "+last.LastRun.UTC().Format(time.DateOnly), "signpost-reports.timer", why, timer)
	case !last.OK:
		line, _, _ := strings.Cut(last.Error, "\n")
		return yellow("the last run of signpost reports read failed", line, why, "sudo signpost reports read")
	}
	return nil
}

type receiving struct {
	Received
	main map[string]string // Postfix's settings; see settings
}

// isConfigured reports whether mail to an address is read, also if the address has an extension.
func (f *Received) isConfigured(address string) bool {
	return slices.Contains(f.Addresses, address) || slices.Contains(f.Addresses, withoutExtension(address, f.Delimiter))
}

// withoutExtension returns an address without its extension.
func withoutExtension(address, delimiter string) string {
	local, host, _ := strings.Cut(address, "@")
	if i := strings.IndexAny(local, delimiter); i > 0 {
		local = local[:i]
	}
	return local + "@" + host
}

// class is an address class of ADDRESS_CLASS_README.
type class struct {
	domains, recipients string
	subdomains          bool // an entry also matches the subdomains of its domain
	byLocal             bool // the table may have only the local part
}

func classes() []class {
	return []class{{domains: "mydestination", recipients: "local_recipient_maps", byLocal: true}, {domains: "virtual_alias_domains", recipients: "virtual_alias_maps"},
		{domains: "virtual_mailbox_domains", recipients: "virtual_mailbox_maps"}, {domains: "relay_domains", recipients: "relay_recipient_maps", subdomains: true}}
}

// settings reads Postfix's settings once.
func (r *receiving) settings(ctx context.Context) error {
	if r.main != nil {
		return nil
	}
	names := []string{"message_size_limit"}
	for _, c := range classes() {
		names = append(names, c.domains, c.recipients)
	}
	out, err := r.Postconf(ctx, append([]string{"-x"}, names...)...)
	if err != nil {
		return err
	}
	r.main = parseSettings(out)
	return nil
}

// accepts reports whether Postfix receives mail for a domain. After an error, it returns false: the domain is then not proposed.
func (f *Received) accepts(ctx context.Context, name string) bool {
	r := receiving{Received: *f}
	if r.settings(ctx) != nil {
		return false
	}
	_, found, err := r.classOf(ctx, name)
	return found && err == nil
}

// classOf returns the class of a domain.
func (r *receiving) classOf(ctx context.Context, name string) (in class, found bool, err error) {
	at := site{Facts: Facts{Domain: name, Ask: r.Ask}}
	for _, c := range classes() {
		if found, err := at.has(ctx, r.main[c.domains], c.subdomains); found || err != nil {
			return c, found, err
		}
	}
	return class{}, false, nil
}

const (
	whyAccepted = "reporters get a bounce, and Signpost sees no report"
	fixDenied   = "# allow user signpost to read the table, or run: sudo signpost doctor"
)

func (r *receiving) recipients(ctx context.Context) (found []doctor.Finding) {
	if err := r.settings(ctx); err != nil {
		return yellow("cannot read Postfix's settings: postconf(1) failed", err.Error(), "it is not known whether Postfix accepts reports", "postconf -n # then correct the error that it prints")
	}
	for _, address := range r.Addresses {
		found = append(found, r.recipient(ctx, address)...)
	}
	return found
}

func (r *receiving) recipient(ctx context.Context, address string) []doctor.Finding {
	local, host, _ := strings.Cut(address, "@")
	c, in, err := r.classOf(ctx, host)
	switch {
	case err != nil:
		return yellow("it is not known whether Postfix accepts "+address+": a lookup failed", err.Error(), whyAccepted, fixDenied)
	case !in:
		return red("Postfix does not accept mail to "+host, "reports.receive.addresses: "+address, whyAccepted, "# receive mail for "+host+" on this host, or change the address in the rua of the records")
	case r.main[c.recipients] == "":
		return nil
	}
	at := site{Facts: Facts{Ask: r.Ask}}
	keys := []string{address}
	if short := withoutExtension(address, r.Delimiter); short != address {
		keys = append(keys, short)
	}
	if c.byLocal {
		keys = append(keys, local, strings.TrimSuffix(withoutExtension(address, r.Delimiter), "@"+host))
	}
	keys = append(keys, "@"+host)
	for _, list := range []string{r.main[c.recipients], r.main["virtual_alias_maps"]} {
		_, is, err := at.find(ctx, list, keys...)
		switch {
		case err != nil:
			return yellow("it is not known whether Postfix accepts "+address+": a lookup failed", err.Error(), whyAccepted, fixDenied)
		case is:
			return nil
		}
	}
	return red("Postfix rejects mail to "+address, c.recipients+" = "+r.main[c.recipients], whyAccepted, "# create the mailbox or an alias for "+address)
}

// rua finds report addresses of our domains that are not in reports.receive.addresses.
func (r *receiving) rua(ctx context.Context) (found []doctor.Finding) {
	all, failed := Discover(ctx, r.Received)
	for _, c := range all {
		if c.Receives && !c.Configured {
			found = append(found, yellow("reports to "+c.Address+" are not read", strings.Join(c.Records, ", ")+": rua has "+c.Address,
				"the address is not in reports.receive.addresses", "signpost reports discover # prints the line for signpost.toml")...)
		}
		if len(c.Missing) > 0 && c.Configured {
			found = append(found, yellow("no DMARC reports are sent to "+c.Address+" about a domain of another organization", strings.Join(c.Missing, ", ")+": no DMARC record",
				"RFC 9990 section 4: reporters send reports to another organization only if it publishes this record", c.Missing[0]+". IN TXT "+dns.QuoteTXT("v=DMARC1", " "))...)
		}
	}
	for _, name := range failed {
		found = append(found, yellow("the lookup of "+name+" failed", name, "it is not known whether its reports are read", "dig "+doctor.Quote(name)+" TXT")...)
	}
	return found
}

// reportSize is the size of the largest report in bytes that Postfix should accept. It is 10 MB, the limit that reporters expect; the
// default of message_size_limit is 10240000.
const reportSize = 10_000_000

func (r *receiving) size(ctx context.Context) []doctor.Finding {
	if r.settings(ctx) != nil {
		return nil // reported already
	}
	if limit, err := strconv.ParseInt(r.main["message_size_limit"], 10, 64); err == nil && limit > 0 && limit < reportSize {
		return yellow("Postfix rejects large reports", "message_size_limit = "+r.main["message_size_limit"], "large reporters send up to 10 MB",
			"postconf -e "+doctor.Quote("message_size_limit = 10485760"))
	}
	return nil
}

func yellow(what, where, why, fix string) []doctor.Finding {
	return []doctor.Finding{{Level: doctor.Yellow, What: what, Where: where, Why: why, Fix: fix}}
}
