package domain

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"signpost/internal/doctor"
	"signpost/internal/doctor/postfix"
)

// doctor determines the HELO name and the addresses of this host from Postfix's settings. If the settings do not determine an address, the
// operating system chooses it.
func TestHost(t *testing.T) {
	const main = "smtp_helo_name = mail.example.org\nsmtp_bind_address =\nsmtp_bind_address6 =\ninet_interfaces = all\ninet_protocols = all\nrelayhost =\ndefault_transport = smtp\n"
	for _, c := range []struct {
		name, main, master string
		given              []string
		four, six          string // the system's; empty: no route
		helo               string
		sends              []string
		level              doctor.Level
		what               string
	}{
		{name: "the system's", four: "5.9.0.1", six: "2a01:4f8::1", helo: "mail.example.org", sends: []string{"5.9.0.1", "2a01:4f8::1"}, level: doctor.Green, what: "this host uses HELO mail.example.org and sends from 5.9.0.1 and 2a01:4f8::1"},
		{name: "NAT", four: "10.0.0.5", six: "fd00::5", helo: "mail.example.org", level: doctor.Yellow, what: "this host sends from 10.0.0.5, which is not a public address"},
		{name: "a carrier's NAT, and IPv6", four: "100.64.3.4", six: "2a01:4f8::1", helo: "mail.example.org", sends: []string{"2a01:4f8::1"}, level: doctor.Yellow, what: "this host sends from 100.64.3.4, which is not a public address"},
		{name: "NAT, with --address", four: "10.0.0.5", given: []string{"5.9.0.7"}, helo: "mail.example.org", sends: []string{"5.9.0.7"}},
		{name: "no route", helo: "mail.example.org", level: doctor.Yellow, what: "this host has no public address"},
		{name: "bound", main: "smtp_bind_address = 5.9.0.2\nsmtp_helo_name = out.example.org\ninet_protocols = ipv4\n", four: "5.9.0.1", six: "2a01:4f8::1", helo: "out.example.org", sends: []string{"5.9.0.2"}, level: doctor.Green, what: "this host uses HELO out.example.org and sends from 5.9.0.2"},
		{name: "one interface", main: "inet_interfaces = 5.9.0.3\n", four: "5.9.0.1", helo: "mail.example.org", sends: []string{"5.9.0.3"}, level: doctor.Green, what: "this host uses HELO mail.example.org and sends from 5.9.0.3"},
		{name: "one interface and loopback", main: "inet_interfaces = 127.0.0.1, 5.9.0.3\n", four: "5.9.0.1", helo: "mail.example.org", sends: []string{"5.9.0.1"}, level: doctor.Green, what: "this host uses HELO mail.example.org and sends from 5.9.0.1"},
		{name: "bound in master.cf", master: "smtp/unix/smtp_bind_address = 5.9.0.4\nsmtp/unix/smtp_helo_name = four.example.org\nother/unix/smtp_bind_address = 5.9.0.5\nfilter/unix/smtp_bind_address = 127.0.0.1\n",
			four: "5.9.0.1", helo: "four.example.org", sends: []string{"5.9.0.5", "5.9.0.4"}, level: doctor.Green, what: "this host uses HELO four.example.org and sends from 5.9.0.5 and 5.9.0.4"},
		{name: "a relay", main: "relayhost = [relay.example.net]:587\n", four: "5.9.0.1", level: doctor.Green, what: "mail is sent through [relay.example.net]:587, whose name and address other servers see; check its address with --address ADDR"},
		{name: "no mail to other hosts", main: "default_transport = error:this host sends no mail\n", four: "5.9.0.1", level: doctor.Green, what: "this host sends no mail to other hosts"},
		{name: "a relay as transport", main: "default_transport = smtp:[relay.example.net]\n", four: "5.9.0.1", level: doctor.Green, what: "mail is sent through [relay.example.net], whose name and address other servers see; check its address with --address ADDR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := Host{Postconf: func(_ context.Context, args ...string) (string, error) {
				if args[0] == "-x" {
					return main + c.main, nil
				}
				return c.master, nil
			}, Source: func(to netip.AddrPort) (netip.Addr, error) {
				if to.Addr().Is4() && c.four != "" {
					return netip.ParseAddr(c.four)
				}
				if to.Addr().Is6() && c.six != "" {
					return netip.ParseAddr(c.six)
				}
				return netip.Addr{}, errors.New("network is unreachable")
			}}
			for _, s := range c.given {
				h.Given = append(h.Given, netip.MustParseAddr(s))
			}
			own, found := h.find(t.Context())
			var sends []string
			for _, a := range own.Sends {
				sends = append(sends, a.String())
			}
			if own.HELO != c.helo || !slices.Equal(sends, c.sends) {
				t.Errorf("HELO %s, from %s", own.HELO, sends)
			}
			if known := len(c.given) > 0 || strings.Contains(c.what, "uses HELO"); own.Partial == known {
				t.Errorf("partial: %v", own.Partial)
			}
			switch {
			case c.what == "" && len(found) == 0:
			case len(found) != 1 || found[0].Level != c.level || found[0].What != c.what:
				t.Errorf("%+v", found)
			case c.level == doctor.Yellow && found[0].Fix != "signpost doctor --address ADDR":
				t.Errorf("fix %s", found[0].Fix)
			}
		})
	}
}

// The Fix for an invalid HELO name changes the setting that contains it. The Fix uses a name that resolves to this host, if such a name
// exists.
func TestHELOPlace(t *testing.T) {
	for _, c := range []struct{ name, main, master, fix string }{
		{"the host's", "myhostname = mail\nsmtp_helo_name = mail\n", "", "postconf -e 'myhostname = mx7.example.org'"},
		{"its own", "myhostname = mail.example.org\nsmtp_helo_name = localhost\n", "", "postconf -X 'smtp_helo_name'"},
		{"both", "myhostname = mail\nsmtp_helo_name = localhost\n", "", "postconf -X 'smtp_helo_name' && postconf -e 'myhostname = mx7.example.org'"},
		{"in master.cf", "myhostname = mail.example.org\nsmtp_helo_name = mail.example.org\n", "smtp/unix/smtp_helo_name = localhost\n", "postconf -PX 'smtp/unix/smtp_helo_name'"},
	} {
		h := Host{Domain: "example.org", Given: []netip.Addr{netip.MustParseAddr("192.0.2.7")}, Postconf: func(_ context.Context, args ...string) (string, error) {
			if args[0] == "-x" {
				return c.main, nil
			}
			return c.master, nil
		}}
		sender, _ := h.find(t.Context())
		found := bad(check(t, healthy+"mx7.example.org. IN A 192.0.2.7\n7.2.0.192.in-addr.arpa. IN PTR mx7.example.org.\n", &Own{Sender: sender}))
		at := slices.IndexFunc(found, func(f doctor.Finding) bool { return f.Check == "helo" })
		if at < 0 || found[at].Fix != c.fix || strings.Contains(found[at].Where, "by default") {
			t.Errorf("%s: %+v", c.name, found)
		}
	}
}

// The output of the real postconf can be parsed. It contains postconf's own defaults and the settings in master.cf.
func TestHostOfPostfix(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"main.cf": "compatibility_level = 3.6\nmyhostname = mail.example.org\ninet_protocols = ipv4\n", "master.cf": "smtp unix - - y - - smtp\n  -o smtp_bind_address=5.9.0.4\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	own, found := Host{Postconf: postfix.Postconf(dir)}.find(t.Context())
	if own.HELO != "mail.example.org" || !slices.Equal(own.Sends, []netip.Addr{netip.MustParseAddr("5.9.0.4")}) || len(bad(found)) > 0 {
		t.Errorf("%+v %+v", own, found)
	}
}

// Without Postfix, the given addresses are still checked.
func TestHostWithoutPostfix(t *testing.T) {
	given := []netip.Addr{netip.MustParseAddr("5.9.0.7")}
	own, found := Host{Postconf: postfix.Postconf(filepath.Join(t.TempDir(), "none")), Given: given}.find(t.Context())
	if own.HELO != "" || !slices.Equal(own.Sends, given) || len(found) != 1 || found[0].Level != doctor.Yellow || !strings.Contains(found[0].Where, "main.cf") || found[0].Fix != "postconf -x # then correct the error that it prints" {
		t.Errorf("%+v %+v", own, found)
	}
}

// If postconf(1) does not exist, the Fix installs Postfix.
func TestHostWithoutPostconf(t *testing.T) {
	gone := func(context.Context, ...string) (string, error) {
		return "", &exec.Error{Name: "postconf", Err: exec.ErrNotFound}
	}
	if _, found := (Host{Postconf: gone}).find(t.Context()); len(found) != 1 || found[0].Fix != "apt-get install postfix" {
		t.Errorf("%+v", found)
	}
}

// A HELO name must be fully qualified, resolve to the host and pass SPF. After the record in the Fix is published, the check passes.
func TestHELO(t *testing.T) {
	zone := healthy + "only.example.org. IN A 192.0.2.1\nother.example.org. IN A 192.0.2.9\n" + `spf.example.org. IN A 192.0.2.9
spf.example.org. IN TXT "v=spf1 mx:example.net -all"
example.net. IN MX 10 spf.example.org.
`
	for _, c := range []struct{ helo, what, fix string }{
		{"debian.localdomain", `the HELO name "debian.localdomain" is not a fully qualified domain name`, "postconf -e 'myhostname = mail.example.org'"},
		{"debian", `the HELO name "debian" is not a fully qualified domain name`, "postconf -e 'myhostname = mail.example.org'"},
		{"[192.0.2.1]", `the HELO name "[192.0.2.1]" is not a fully qualified domain name`, "postconf -e 'myhostname = mail.example.org'"},
		{"none.example.org", "the HELO name none.example.org has no address", "none.example.org. IN A 192.0.2.1"},
		{"only.example.org", "SPF of the HELO name only.example.org is none, not pass", `only.example.org. IN TXT "v=spf1 a -all"`},
		{"other.example.org", "SPF of the HELO name other.example.org is none, not pass", `other.example.org. IN TXT "v=spf1 ip4:192.0.2.1 a -all"`},
		{"spf.example.org", "SPF of the HELO name spf.example.org is fail, not pass", `spf.example.org. IN TXT "v=spf1 ip4:192.0.2.1 mx:example.net -all"`},
	} {
		own := &Own{Sender: Sender{HELO: c.helo, Sends: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}
		named := func(f doctor.Finding) bool { return f.Check == "helo" && f.What == c.what }
		found := bad(check(t, zone, own))
		at := slices.IndexFunc(found, named)
		if at < 0 || found[at].Fix != c.fix || found[at].Why == "" {
			t.Errorf("%s: %+v", c.helo, found)
			continue
		}
		mended := zone
		if strings.Contains(c.fix, " IN ") {
			mended = publish(zone, c.fix)
		}
		if strings.Contains(c.fix, " TXT ") {
			mended = strings.Replace(zone, `spf.example.org. IN TXT "v=spf1 mx:example.net -all"`, "", 1) + c.fix + "\n"
		}
		if strings.Contains(c.fix, " IN ") && slices.ContainsFunc(bad(check(t, mended, own)), named) {
			t.Errorf("%s: the fix does not correct the fault", c.helo)
		}
	}
}

// For a host without a fully qualified name, the Fix proposes a name.
func TestPTROfNamelessHost(t *testing.T) {
	own := &Own{Sender: Sender{HELO: "vm", Sends: []netip.Addr{netip.MustParseAddr("192.0.2.7")}}}
	found := check(t, healthy, own)
	if !slices.ContainsFunc(found, func(f doctor.Finding) bool {
		return f.What == "192.0.2.7 has no PTR record" && f.Fix == "7.2.0.192.in-addr.arpa. IN PTR mail.example.org."
	}) {
		t.Errorf("%+v", found)
	}
}
