package domain

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"signpost/internal/doctor"
	"signpost/internal/domain"
)

// checkTLSRPT checks the TLSRPT record: RFC 8460 section 3.
func (l *examination) checkTLSRPT(ctx context.Context) {
	name := "_smtp._tls." + l.domain
	all := l.optional(ctx, name, "has no TLSRPT record")
	if len(all) == 0 {
		return
	}
	all = versioned(all, "v=TLSRPTv1")
	err := parseTLSRPT(all[0])
	if len(all) > 1 {
		err = errors.New("there is more than one record")
	}
	if err != nil {
		l.add(doctor.Finding{Level: doctor.Yellow, What: "the TLSRPT record of " + l.domain + " is not valid: " + err.Error(), Where: records(name, all),
			Why: "RFC 8460 section 3: senders ignore it, and you receive no reports about failed TLS connections", Fix: record(name, "v=TLSRPTv1; rua=mailto:postmaster@"+l.domain)})
		return
	}
	l.good("the TLSRPT record of "+l.domain+" is valid", record(name, all[0]))
}

// versioned returns the records that begin with start. If there is none, it returns all records, because one of them was probably intended.
func versioned(all []string, start string) []string {
	if found := only(all, func(t string) bool { return strings.HasPrefix(t, start) }); len(found) > 0 {
		return found
	}
	return all
}

func parseTLSRPT(text string) error {
	parts := strings.Split(text, ";")
	if strings.TrimSpace(parts[0]) != "v=TLSRPTv1" || len(parts) < 2 {
		return errors.New("it does not begin with v=TLSRPTv1;")
	}
	for _, t := range tagsOf(strings.Join(parts[1:], ";")) {
		if t.name != "rua" {
			continue
		}
		for uri := range strings.SplitSeq(t.value, ",") {
			uri = strings.TrimSpace(uri)
			if !isMailto(uri) && !isHTTPS(uri) {
				return errors.New("rua must be a mailto or https URI")
			}
		}
		return nil
	}
	return errors.New("rua is missing")
}

func isMailto(uri string) bool {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "mailto" {
		return false
	}
	at := strings.LastIndexByte(u.Opaque, '@')
	_, err = domain.Parse(u.Opaque[at+1:])
	return at > 0 && err == nil
}

func isHTTPS(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && u.Scheme == "https" && u.Hostname() != ""
}
