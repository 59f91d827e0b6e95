package host_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/internal/doctor/host"
	"signpost/internal/setup"
)

// gateway returns the findings of the check "gateway" that are not green.
func gateway(t *testing.T, conf *config.Config, in host.Inbound) []doctor.Finding {
	t.Helper()
	f := setup.HostFacts(conf, "signpost.toml", nil, time.Now())
	f.Inbound = in
	list := slices.DeleteFunc(host.Checks(f), func(c doctor.Check) bool { return c.Name != "gateway" })
	return slices.DeleteFunc(doctor.Run(t.Context(), list), func(f doctor.Finding) bool { return f.Level == doctor.Green })
}

// A client is reported if it delivers over 30 % of inbound mail and SPF fails for over half of its mail. The Fix is the line for
// verify.skip_networks. A client is not reported if the configuration already states how to treat it.
func TestGateway(t *testing.T) {
	one, two := netip.MustParseAddr("192.0.2.5"), netip.MustParseAddr("2001:db8::5")
	within := netip.MustParsePrefix("192.0.2.0/24")
	future, past := time.Now().AddDate(1, 0, 0), time.Now().AddDate(-1, 0, 0)
	set := func(change func(*config.Config)) *config.Config {
		c := config.Default()
		change(c)
		return c
	}
	only := func(messages, failed int) map[netip.Addr]host.ClientMail {
		return map[netip.Addr]host.ClientMail{one: {messages, failed}}
	}
	for _, c := range []struct {
		name     string
		messages int
		clients  map[netip.Addr]host.ClientMail
		config   *config.Config
		want     []string // texts of the findings, in order
	}{
		{name: "a gateway", messages: 1000, clients: only(900, 800), want: []string{
			"192.0.2.5 delivers 90 % of inbound mail, and SPF fails for 89 % of that|900 of a sample of 1000|for 800|skip_networks = [\"192.0.2.5\"] #"}},
		{name: "just over both shares", messages: 1000, clients: only(301, 151), want: []string{"192.0.2.5"}},
		{name: "30 % of the mail", messages: 1000, clients: only(300, 300)},
		{name: "half of it fails", messages: 1000, clients: only(400, 200)},
		{name: "a large provider", messages: 1000, clients: only(700, 10)},
		{name: "the fewest messages that count", messages: 100, clients: only(100, 100), want: []string{"192.0.2.5"}},
		{name: "too few messages", messages: 99, clients: only(99, 99)},
		{name: "no journal"},
		{name: "two gateways", messages: 1000, clients: map[netip.Addr]host.ClientMail{one: {450, 400}, two: {400, 300}}, want: []string{
			"192.0.2.5", "2001:db8::5|skip_networks = [\"2001:db8::5\"] #"}},
		{name: "others in skip_networks", messages: 1000, clients: only(900, 800), want: []string{
			"192.0.2.5|skip_networks = [\"198.51.100.0/24\", \"203.0.113.1\", \"192.0.2.5\"] #"},
			config: set(func(c *config.Config) {
				c.Verify.SkipNetworks = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.1/32")}
			})},
		{name: "a trusted forwarder", messages: 1000, clients: only(900, 800),
			config: set(func(c *config.Config) { c.DMARC.TrustedForwarders = []netip.Prefix{within} })},
		{name: "an accepted forwarder", messages: 1000, clients: only(900, 800),
			config: set(func(c *config.Config) { c.DMARC.Forwarders = []config.Forwarder{{Network: within, Expires: future}} })},
		{name: "an accepted forwarder that has expired", messages: 1000, clients: only(900, 800), want: []string{"192.0.2.5"},
			config: set(func(c *config.Config) { c.DMARC.Forwarders = []config.Forwarder{{Network: within, Expires: past}} })},
		{name: "a spammer who is denied", messages: 1000, clients: only(900, 800),
			config: set(func(c *config.Config) { c.Deny = []config.LocalRule{{Network: within, Expires: future}} })},
		{name: "a denied domain", messages: 1000, clients: only(900, 800), want: []string{"192.0.2.5"},
			config: set(func(c *config.Config) { c.Deny = []config.LocalRule{{Domain: "a.example", Expires: future}} })},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.config == nil {
				c.config = config.Default()
			}
			found := gateway(t, c.config, host.Inbound{Messages: c.messages, Since: past, Clients: c.clients})
			if len(found) != len(c.want) {
				t.Fatalf("got %+v, want %q", found, c.want)
			}
			for i, f := range found {
				for text := range strings.SplitSeq(c.want[i], "|") {
					if !strings.Contains(fmt.Sprint(f), text) {
						t.Errorf("no %q in %+v", text, f)
					}
				}
				if f.Level != doctor.Yellow || f.Why == "" {
					t.Errorf("the finding is red, or has no reason: %+v", f)
				}
			}
		})
	}
}

// If the journal cannot be read, doctor reports this error, but no client.
func TestGatewayWithoutJournal(t *testing.T) {
	denied := "cannot check this"
	if os.Geteuid() == 0 { // the advice to run doctor as root is omitted if root runs it
		denied = "cannot read the journal"
	}
	for _, c := range []struct {
		err  error
		what string
	}{
		{fmt.Errorf("journal.db: %w", fs.ErrPermission), denied},
		{errors.New("journal.db: database disk image is malformed"), "cannot read the journal"},
	} {
		found := gateway(t, config.Default(), host.Inbound{Err: c.err})
		if len(found) != 1 || found[0].Level != doctor.Yellow || !strings.Contains(found[0].What, c.what) || !strings.Contains(found[0].Where, "journal.db") || found[0].Fix == "" {
			t.Errorf("%v: %+v", c.err, found)
		}
	}
}
