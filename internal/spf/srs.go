package spf

import (
	"strings"

	"signpost/internal/domain"
)

// SRSDomain returns the domain that a forwarder wrote into a MAIL FROM of the Sender Rewriting Scheme, or "" if it has another form. The
// forms are SRS0=HASH=TIME=DOMAIN=LOCAL, SRS1=HASH=FORWARDER= followed by the rest of an SRS0 address, and BOX+SRS=HASH=TIME=DOMAIN=LOCAL
// of Exchange.
func SRSDomain(sender string) string {
	local := sender[:max(0, strings.LastIndexByte(sender, '@'))]
	upper := strings.ToUpper(local)
	const tag, exchange = "SRS0=", "+SRS="
	rest := ""
	switch i := strings.Index(upper, exchange); {
	case strings.HasPrefix(upper, "SRS0") && len(local) > len(tag) && separates(local[4]):
		rest = local[len(tag):]
	case strings.HasPrefix(upper, "SRS1") && len(local) > len(tag) && separates(local[4]):
		_, rest, _ = strings.Cut(local[len(tag):], "=") // after its hash
		if _, rest, _ = strings.Cut(rest, "="); rest == "" || !separates(rest[0]) {
			return ""
		}
		rest = rest[1:]
	case i >= 0:
		rest = local[i+len(exchange):]
	}
	const hash, stamp, host, user = 0, 1, 2, 3
	parts := strings.SplitN(rest, "=", user+1)
	if len(parts) <= user || parts[hash] == "" || parts[stamp] == "" {
		return ""
	}
	d, err := domain.Parse(parts[host])
	if err != nil {
		return ""
	}
	return d
}

func separates(c byte) bool { return c == '=' || c == '+' || c == '-' }
