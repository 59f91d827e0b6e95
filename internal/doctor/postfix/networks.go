package postfix

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"

	"go4.org/netipx"

	"signpost/internal/doctor"
	"signpost/internal/domain"
)

const mynetworks = "mynetworks"

// myNetworks finds networks that may relay through Postfix but are not in trusted_networks. The daemon treats their mail as inbound.
func (l *site) myNetworks(ctx context.Context) (found []doctor.Finding) {
	var outside []netip.Prefix
	var where []string
	wideTrusted, narrowTrusted := divide(l.TrustedNetworks)
	wideSkipped, narrowSkipped := divide(l.SkipNetworks)
	trusted := slices.Concat(narrowTrusted, narrowSkipped)
	for _, s := range l.postconf.places(mynetworks) {
		var all clients
		for _, w := range words(l.postconf.get(s, mynetworks)) {
			all.add(ctx, w, true)
		}
		here := len(outside)
		for _, p := range all.allowed {
			switch {
			case tooLarge(p):
				found = append(found, l.openRelay(s, p))
			case !covered(p, trusted) && !slices.Contains(outside, p):
				outside = append(outside, p)
			}
		}
		if len(outside) > here {
			where = append(where, l.postconf.where(s, mynetworks))
		}
		for _, what := range all.unread {
			found = append(found, doctor.Finding{Level: doctor.Yellow, What: "doctor cannot list the networks of " + what + " in mynetworks", Where: l.postconf.where(s, mynetworks),
				Why: "Signpost treats mail from networks outside trusted_networks as inbound mail",
				Fix: "add the networks of " + what + " to trusted_networks in " + l.File})
		}
	}
	fix := "trusted_networks = " + tomlList(slices.Concat(narrowTrusted, outside))
	if len(wideSkipped) > 0 {
		found = append(found, doctor.Finding{Level: doctor.Red, What: "verify.skip_networks contains networks that are too large for one site: " + doctor.Join(wideSkipped, ", ", netip.Prefix.String),
			Where: l.File + ": verify.skip_networks", Why: "no mail is verified", Fix: "skip_networks = " + tomlList(narrowSkipped) + " # in [verify]"})
	}
	if len(wideTrusted) > 0 {
		return append(found, doctor.Finding{Level: doctor.Red, What: "trusted_networks contains networks that are too large for one site: " + doctor.Join(wideTrusted, ", ", netip.Prefix.String), Where: l.File + ": trusted_networks",
			Why: "Signpost signs forged mail from any client, and verifies nothing", Fix: fix})
	}
	if len(outside) == 0 {
		return found
	}
	return append(found, doctor.Finding{Level: doctor.Red, What: "mynetworks contains networks that are not in trusted_networks: " + doctor.Join(outside, ", ", netip.Prefix.String),
		Where: strings.Join(where, "; ") + "; " + l.File + ": trusted_networks",
		Why:   "Signpost does not sign mail from these networks; it verifies the mail as inbound and may reject it",
		Fix:   fix})
}

// divide separates the networks that are too large from the others.
func divide(networks []netip.Prefix) (wide, narrow []netip.Prefix) {
	for _, p := range networks {
		if tooLarge(p) {
			wide = append(wide, p)
		} else {
			narrow = append(narrow, p)
		}
	}
	return wide, narrow
}

// tomlList returns networks as a list in TOML.
func tomlList(networks []netip.Prefix) string {
	if len(networks) == 0 {
		return "[]"
	}
	return `["` + doctor.Join(networks, `", "`, netip.Prefix.String) + `"]`
}

// tooLarge reports whether a network is too large to belong to one site.
func tooLarge(p netip.Prefix) bool {
	return p.Bits() < 8 || p.Addr().Is6() && p.Bits() < 16
}

func (l *site) openRelay(s *service, p netip.Prefix) doctor.Finding {
	var rest []string
	for _, w := range words(l.postconf.get(s, mynetworks)) {
		if n, ok := network(w); !ok || !tooLarge(n) {
			rest = append(rest, w)
		}
	}
	if len(rest) == 0 {
		rest = []string{"127.0.0.0/8", "[::1]/128"}
	}
	return doctor.Finding{Level: doctor.Red, What: "Postfix is an open relay: mynetworks contains " + p.String(), Where: l.postconf.where(s, mynetworks),
		Why: "anyone can send spam through this host, and other servers will block it", Fix: l.postconf.setAt(l.postconf.at(s, mynetworks), mynetworks, strings.Join(rest, " "))}
}

// clients are the networks that a list like mynetworks allows.
type clients struct {
	allowed, excepted []netip.Prefix
	unread            []string
}

// add adds one item of the list: a network, !ITEM, a /FILE with more items, or TYPE:TABLE. The first match counts.
func (c *clients) add(ctx context.Context, word string, allow bool) {
	if rest, not := strings.CutPrefix(word, "!"); not {
		c.add(ctx, rest, !allow)
		return
	}
	if p, ok := network(word); ok {
		c.network(p, allow)
		return
	}
	items, err := listed(ctx, word)
	if err != nil {
		c.unread = append(c.unread, word)
		return
	}
	for _, item := range items {
		p, ok := network(item)
		switch {
		case ok:
			c.network(p, allow)
		case strings.HasPrefix(word, "/") && !strings.HasPrefix(item, "/"):
			c.add(ctx, item, allow)
		default: // a file inside a file is not read, because it could contain itself
			c.unread = append(c.unread, word)
			return
		}
	}
}

func (c *clients) network(p netip.Prefix, allow bool) {
	if allow {
		c.allowed = append(c.allowed, outsideOf(p, c.excepted)...)
	} else {
		c.excepted = append(c.excepted, p)
	}
}

var errNoTable = errors.New("not a file or a table that can be listed")

// listed returns the items of a file, or the keys of a table.
func listed(ctx context.Context, name string) (all []string, err error) {
	name = strings.TrimPrefix(name, "proxy:")
	kind, path, table := strings.Cut(name, ":")
	var text []byte
	switch {
	case strings.HasPrefix(name, "/"):
		text, err = os.ReadFile(name)
	case table && kind == "cidr":
		text, err = os.ReadFile(path)
	case table && enumerable(kind):
		text, err = postmapEntries(ctx, name)
	default:
		err = errNoTable
	}
	if err != nil {
		return nil, err
	}
	for _, line := range tableLines(string(text)) {
		w := words(line.text)
		switch {
		case !table:
			all = append(all, w...)
		case w[0] != "if" && w[0] != "endif": // lines with the keywords "if" and "endif" do not contain networks
			all = append(all, w[0])
		}
	}
	return all, nil
}

// enumerable reports whether postmap -s can list the entries of tables of this type.
func enumerable(kind string) bool {
	return slices.Contains([]string{"hash", "btree", "lmdb", "cdb", "texthash"}, kind)
}

// postmapEntries returns the entries of a table as postmap -s writes them.
func postmapEntries(ctx context.Context, table string) ([]byte, error) {
	path, err := admin("postmap")
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, path, "-s", table).Output()
}

// network parses an address or a network. IPv6 addresses have brackets in lists, but not in tables.
func network(w string) (netip.Prefix, bool) {
	w = strings.NewReplacer("[", "", "]", "").Replace(w)
	p, ok := domain.ParseNetwork(w)
	return p.Masked(), ok
}

// covered reports whether the other networks together contain all addresses of p.
func covered(p netip.Prefix, others []netip.Prefix) bool { return len(outsideOf(p, others)) == 0 }

// outsideOf returns the part of network p that is in none of the other networks.
func outsideOf(p netip.Prefix, others []netip.Prefix) []netip.Prefix {
	var b netipx.IPSetBuilder
	b.AddPrefix(p)
	for _, o := range others {
		b.RemovePrefix(o)
	}
	rest, _ := b.IPSet() // the only possible error is an invalid prefix, and all prefixes are valid
	return rest.Prefixes()
}
