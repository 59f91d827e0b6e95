package domain

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"signpost/internal/doctor"
	"signpost/internal/domain"
)

// Limits of a policy. RFC 8461 section 3.3 allows senders to limit its size, with 64 KiB as an example.
const (
	maxPolicy = 64 << 10
	maxAge    = 31557600 // seconds; section 3.2: a year
	leastAge  = 86400    // seconds; a policy that is valid for less than a day hardly protects mail
)

// stsPolicy is an MTA-STS policy: RFC 8461 section 3.2.
type stsPolicy struct {
	mode   string
	maxAge int
	mx     []string
}

func parsePolicy(text string) (*stsPolicy, error) {
	p := &stsPolicy{maxAge: -1}
	version, seen := "", map[string]bool{}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n \t")
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("the line %.80q has no colon", line)
		}
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if seen[name] && name != "mx" {
			continue // only the first value counts
		}
		seen[name] = true
		switch name {
		case "version":
			version = value
		case "mode":
			p.mode = value
		case "max_age":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 || n > maxAge {
				return nil, fmt.Errorf("max_age must be a number from 0 to %d, not %.80q", maxAge, value)
			}
			p.maxAge = n
		case "mx":
			p.mx = append(p.mx, domain.Fold(value))
		}
	}
	switch {
	case version != "STSv1":
		return nil, errors.New("the line \"version: STSv1\" is missing")
	case !slices.Contains([]string{"enforce", "testing", "none"}, p.mode):
		return nil, fmt.Errorf("mode must be enforce, testing or none, not %.80q", p.mode)
	case p.maxAge < 0:
		return nil, errors.New("max_age is missing")
	case len(p.mx) == 0 && p.mode != "none":
		return nil, errors.New("mx is missing")
	}
	return p, nil
}

// covers reports whether the policy contains a mail exchange. RFC 8461 section 4.1: a wildcard matches only the left-most label.
func (p *stsPolicy) covers(host string) bool {
	_, above, _ := strings.Cut(host, ".")
	return slices.Contains(p.mx, host) || slices.Contains(p.mx, "*."+above)
}

// suggest returns a policy for the domain's mail exchanges, with line ends escaped for printf(1).
func (l *examination) suggest() string {
	lines := "version: STSv1\\nmode: testing\\n"
	for _, host := range l.exchanges {
		if word(host) != host { // not a host name
			continue
		}
		lines += "mx: " + host + "\\n"
	}
	return lines + "max_age: 604800\\n"
}

func (l *examination) checkMTASTS(ctx context.Context) {
	name := "_mta-sts." + l.domain
	all := l.optional(ctx, name, "has no MTA-STS policy")
	if len(all) == 0 {
		return
	}
	found := only(all, regexp.MustCompile(`^v=STSv1\s*;`).MatchString)
	if len(found) != 1 || !regexp.MustCompile(`;\s*id=[A-Za-z0-9]{1,32}\s*(;|$)`).MatchString(found[0]) {
		l.add(doctor.Finding{Level: doctor.Red, What: "the MTA-STS record of " + l.domain + " is not valid", Where: records(name, all),
			Why: "RFC 8461 section 3.1: there must be exactly one record with v=STSv1 and an id of letters and digits; otherwise the domain has no policy", Fix: record(name, "v=STSv1; id=1")})
		return
	}
	url := "https://mta-sts." + l.domain + "/.well-known/mta-sts.txt"
	text, err := l.fetch(ctx, url)
	if err != nil {
		l.add(doctor.Finding{Level: doctor.Red, What: "the MTA-STS policy of " + l.domain + " cannot be fetched", Where: fmt.Sprintf("%s\n%q", url, err.Error()),
			Why: "RFC 8461 section 3.3: the server must have a valid certificate and send text/plain without redirects; otherwise senders deliver without the policy",
			Fix: "curl -v " + url})
		return
	}
	p, err := parsePolicy(text)
	if err != nil {
		l.add(doctor.Finding{Level: doctor.Red, What: "the MTA-STS policy of " + l.domain + " is not valid: " + err.Error(), Where: url,
			Why: "RFC 8461 section 3.2: senders ignore it", Fix: "printf '" + l.suggest() + "' > mta-sts.txt"})
		return
	}
	before := len(l.all)
	for _, host := range l.exchanges {
		if !p.covers(host) && p.mode != "none" {
			level := doctor.Yellow
			if p.mode == "enforce" {
				level = doctor.Red
			}
			l.add(doctor.Finding{Level: level, What: "the MTA-STS policy of " + l.domain + " does not contain the mail exchange " + host, Where: fmt.Sprintf("%s: mode %s, mx %q", url, p.mode, p.mx),
				Why: "RFC 8461 section 4.1: in mode enforce, senders do not deliver to this host; when you change the policy, change the id in " + name, Fix: "mx: " + host})
		}
	}
	switch {
	case len(l.all) > before:
	case p.mode != "enforce":
		l.add(doctor.Finding{Level: doctor.Yellow, What: "the MTA-STS policy of " + l.domain + " is not enforced (" + p.mode + ")", Where: url,
			Why: "RFC 8461 section 5: senders also deliver without TLS; when you change the policy, change the id in " + name, Fix: "mode: enforce"})
	case p.maxAge < leastAge:
		l.add(doctor.Finding{Level: doctor.Yellow, What: fmt.Sprintf("the MTA-STS policy of %s expires after %d seconds", l.domain, p.maxAge), Where: url,
			Why: "RFC 8461 section 3.2: max_age should be weeks, since a sender without a cached policy is not protected; when you change the policy, change the id in " + name, Fix: "max_age: 604800"})
	default:
		l.good("the MTA-STS policy of "+l.domain+" is enforced and contains its mail exchanges", url)
	}
}

// fetch returns the policy at a URL: RFC 8461 section 3.3.
func (l *examination) fetch(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, maxPeer)
	defer cancel()
	host := "mta-sts." + l.domain
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: l.Roots, ServerName: host, MinVersion: tls.VersionTLS12},
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return l.connect(ctx, host, l.HTTPSPort) },
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxPolicy,
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", errors.New("the web server replies with status " + strconv.Itoa(response.StatusCode))
	}
	if kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err != nil || kind != "text/plain" {
		return "", errors.New("its Content-Type is not text/plain")
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxPolicy+1))
	if err == nil && len(body) > maxPolicy {
		err = fmt.Errorf("it is longer than %d bytes", maxPolicy)
	}
	return string(body), err
}
