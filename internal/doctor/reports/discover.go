package reports

import (
	"cmp"
	"context"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/domain"
	"signpost/internal/spf"
)

// Candidate is an address in the rua of hosted domains whose mail this host accepts.
type Candidate struct {
	Address    string   `json:"address"` // lower case
	Records    []string `json:"records"` // the DNS names of the records with the address
	Configured bool     `json:"configured"`
	// Missing are the records without which no DMARC report about a domain of another organization is sent to the address: RFC 9990
	// section 4. If Records has no other record, the address is not proposed.
	Missing []string `json:"missing_records"`
	// Receives reports whether reports are sent to the address.
	Receives bool `json:"receives_reports"`
}

// Discover returns the candidates, sorted by address, and the DNS names whose lookup failed. An address is a candidate if its domain is
// hosted or if Postfix receives mail for it.
func Discover(ctx context.Context, f Received) (all []Candidate, failed []string) {
	found := map[string]*Candidate{}
	local := map[string]bool{}
	for _, name := range f.Hosted {
		records, err := f.records(ctx, name)
		failed = append(failed, err...)
		for _, r := range records {
			for _, address := range addresses(r.rua) {
				_, host, _ := strings.Cut(address, "@")
				if _, known := local[host]; !known {
					local[host] = slices.Contains(f.Hosted, host) || f.accepts(ctx, host)
				}
				if !local[host] {
					continue
				}
				c := found[address]
				if c == nil {
					c = &Candidate{Address: address, Configured: f.isConfigured(address), Records: []string{}, Missing: []string{}}
					found[address] = c
				}
				if !slices.Contains(c.Records, r.name) {
					c.Records = append(c.Records, r.name)
				}
				missing, err := f.missing(ctx, r, host)
				switch {
				case err != "":
					failed = append(failed, err)
				case missing == "":
					c.Receives = true
				case !slices.Contains(c.Missing, missing):
					c.Missing = append(c.Missing, missing)
				}
			}
		}
	}
	for _, c := range found {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b Candidate) int { return cmp.Compare(a.Address, b.Address) })
	slices.Sort(failed)
	return all, slices.Compact(failed)
}

// ruaRecord is a DMARC or TLS-RPT record that applies to a domain.
type ruaRecord struct {
	name   string // DNS name
	domain string // the domain that the record is about; empty: the record needs no permission
	rua    []string
}

// records returns the DMARC record that applies to a domain, which may be that of the Organizational Domain, and the domain's TLS-RPT record.
func (f *Received) records(ctx context.Context, name string) (all []ruaRecord, failed []string) {
	view := f.view()
	d := dmarc.Discover(ctx, view, name).Found()
	if d.Failed != "" {
		failed = append(failed, d.Failed)
	}
	if r, ok := dmarc.ParseRecord(d.Record); ok {
		all = append(all, ruaRecord{"_dmarc." + d.PolicyDomain, d.PolicyDomain, r.RUA})
	}
	at := "_smtp._tls." + name
	texts, err := view.LookupTXT(ctx, at)
	if err != nil && !spf.IsNotFound(err) {
		failed = append(failed, at)
	}
	for _, text := range texts {
		if rua, ok := tlsRUA(text); ok {
			all = append(all, ruaRecord{at, "", rua})
		}
	}
	return all, failed
}

// tlsRUA returns the URIs of a TLS-RPT record: RFC 8460 section 3.
func tlsRUA(text string) (rua []string, ok bool) {
	version, tags, _ := strings.Cut(text, ";")
	if strings.TrimSpace(version) != "v=TLSRPTv1" {
		return nil, false
	}
	for tag := range strings.SplitSeq(tags, ";") {
		if name, value, _ := strings.Cut(tag, "="); strings.TrimSpace(name) == "rua" {
			for uri := range strings.SplitSeq(value, ",") {
				rua = append(rua, strings.TrimSpace(uri))
			}
		}
	}
	return rua, true
}

// missing returns the name of the record without which no reports are sent to host, or "". failed is the name of a lookup that failed.
func (f *Received) missing(ctx context.Context, r ruaRecord, host string) (name, failed string) {
	if r.domain == "" {
		return "", ""
	}
	view := f.view()
	same, failed := dmarc.SameOrganization(ctx, view, r.domain, host)
	if same || failed != "" {
		return "", failed
	}
	name = r.domain + "._report._dmarc." + host
	texts, err := view.LookupTXT(ctx, name)
	if err != nil && !spf.IsNotFound(err) {
		return "", name
	}
	if slices.ContainsFunc(texts, func(t string) bool { _, ok := dmarc.ParseRecord(t); return ok }) {
		return "", ""
	}
	return name, ""
}

// maxView is the maximum number of lookups for one domain or address: two walks and a few records.
const maxView = 50

func (f *Received) view() *dns.View { return f.Resolver.View(netip.Addr{}).Limit(maxView) }

// maxLocal is the maximum length of a local part in bytes: RFC 5321 section 4.5.3.1.1.
const maxLocal = 64

// addresses returns the mail addresses of URIs in lower case, without those that would need quotes.
func addresses(uris []string) (all []string) {
	for _, uri := range uris {
		scheme, rest, _ := strings.Cut(uri, ":")
		rest, _, _ = strings.Cut(rest, "?")
		text, err := url.PathUnescape(rest)
		at := strings.LastIndexByte(text, '@')
		if err != nil || !strings.EqualFold(scheme, "mailto") || at < 1 || at > maxLocal || strings.ContainsFunc(text[:at], func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),:;<>@[\]`, r) }) {
			continue
		}
		host, err := domain.Parse(text[at+1:])
		if address := strings.ToLower(text[:at]) + "@" + host; err == nil && strings.Contains(host, ".") && !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	return all
}
