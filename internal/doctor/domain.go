package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"signpost/internal/dns"
	"signpost/internal/domain"
	"signpost/keys"
)

// Domains looks at what domains publish.
type Domains struct {
	Resolver *dns.Resolver
	// Checker asks the name servers themselves for our own keys; nil: the resolver alone is asked.
	Checker *keys.Checker
	// Selectors are of DKIM keys to look at besides our own: DNS has no list of them.
	Selectors []string

	SMTPPort  uint16 // of mail exchanges; 0: 25
	HTTPSPort uint16 // of the policy's web server; 0: 443
	// Dial reaches them; nil: as the system does.
	Dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	Roots *x509.CertPool // who certifies them; nil: the system's
}

// Own is what is known of a domain that is ours.
type Own struct {
	HELO    string       // the name that this host says
	Sends   []netip.Addr // the addresses that it sends from
	Partial bool         // Sends may lack some
	Keys    []*keys.Key  // the domain's
}

// Bounds on one domain.
const (
	// maxTime leaves a person waiting for as long as they wait for a slow page.
	maxTime = 60 * time.Second
	// maxQueries is several times what the largest honest SPF tree and everything else ask.
	maxQueries = 250
	// maxPeer is how long one server may take.
	maxPeer = 10 * time.Second
)

// look is one domain while it is looked at.
type look struct {
	Domains
	view   *dns.View
	domain string
	own    *Own
	all    []Finding

	exchanges []string // the mail exchanges, without final dots; none: not found
	nullMX    bool     // RFC 7505: it takes no mail
	signed    bool     // DNSSEC proves the MX records
	dmarcFor  string   // what receivers do with forged mail; empty: no policy
	dmarcSub  string
	dmarcName string // where the record stands that applies
	dmarcText string // and what it says
}

// Check looks at one domain. own is nil for others' domains.
func (d Domains) Check(ctx context.Context, named string, own *Own) []Finding {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	name, err := domain.ParseArgument(named)
	if err != nil || !strings.Contains(name, ".") {
		return []Finding{{Check: "domain", Level: Red, What: fmt.Sprintf("%q is not a domain name", named), Fix: "signpost doctor example.org"}}
	}
	if d.SMTPPort == 0 {
		d.SMTPPort = 25
	}
	if d.HTTPSPort == 0 {
		d.HTTPSPort = 443
	}
	if d.Dial == nil {
		d.Dial = (&net.Dialer{Timeout: maxPeer}).DialContext
	}
	l := &look{Domains: d, view: d.Resolver.View(netip.Addr{}).Limit(maxQueries), domain: name, own: own}
	for _, check := range []func(context.Context){l.checkMX, l.checkHost, l.checkSPF, l.checkKeys, l.checkDMARC, l.checkMTASTS, l.checkTLSRPT, l.checkBIMI, l.checkDANE} {
		check(ctx)
	}
	return l.all
}

func (l *look) add(f Finding) {
	f.What, f.Where, f.Why, f.Fix = printable(f.What), printable(f.Where), printable(f.Why), printable(f.Fix)
	l.all = append(l.all, f)
}

func (l *look) good(check, what, where string) {
	l.add(Finding{Check: check, Level: Green, What: what, Where: where})
}

// unknown is for what DNS cannot say now: nobody knows whether it is wrong.
func (l *look) unknown(check, name string, err error) {
	why := err.Error()
	var failed *net.DNSError
	if errors.As(err, &failed) {
		why = failed.Err
	}
	l.add(Finding{Check: check, Level: Yellow, What: name + " could not be looked up", Where: name + ": " + why,
		Why: "whoever asks now learns no more; receivers put mail off, or take it as not authenticated",
		Fix: "dig " + word(name) + " # and see which name server does not answer"})
}

// text gives the TXT records of a name; none is no error.
func (l *look) text(ctx context.Context, name string) ([]string, error) {
	all, err := l.view.LookupTXT(ctx, name)
	if absent(err) {
		return nil, nil
	}
	return all, err
}

// addrs gives all addresses of a name; none is no error.
func (l *look) addrs(ctx context.Context, name string) ([]netip.Addr, error) {
	four, err := l.view.LookupA(ctx, name)
	if err != nil && !absent(err) {
		return nil, err
	}
	six, err := l.view.LookupAAAA(ctx, name)
	if err != nil && !absent(err) {
		return nil, err
	}
	return slices.Concat(four, six), nil
}

func absent(err error) bool {
	var e *net.DNSError
	return errors.As(err, &e) && e.IsNotFound
}

// record is a TXT record as a line of a zone file, whatever its octets are.
func record(name, text string) string { return name + ". IN TXT " + dns.QuoteTXT(text, " ") }

func records(name string, all []string) string {
	lines := make([]string, 0, len(all))
	for _, t := range all {
		lines = append(lines, record(name, t))
	}
	return strings.Join(lines, "\n")
}

// printable keeps what strangers publish from steering a terminal: line ends are ours alone, since record and %q leave none.
func printable(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= ' ' && c <= '~' || c == '\n' {
			b.WriteByte(c)
		} else {
			b.WriteString(`\x` + strconv.FormatUint(uint64(c)|0x100, 16)[1:])
		}
	}
	return b.String()
}

// word is a name from DNS as one word for sh: strangers choose it, and somebody may type the line.
func word(name string) string {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == "" && !strings.HasPrefix(name, "-") {
		return name
	}
	return quoted(name)
}

// apart is how many letters are to be changed, added, dropped or swapped with their neighbour to make b of a.
func apart(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// maxWord bounds what is compared letter by letter.
const maxWord = 32

// meant is the word that was most likely meant, empty where none is near.
func meant(word string, words ...string) string {
	word = strings.ToLower(word)
	if len(word) > maxWord {
		return ""
	}
	best, least := "", 3
	for _, w := range words {
		if n := apart(word, w); n < least && n < len(w) {
			best, least = w, n
		} else if len(word) > 2 && strings.HasPrefix(w, word) {
			return w
		}
	}
	return best
}
