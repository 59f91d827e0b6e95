package main

import (
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	signpostdns "signpost/internal/dns"
	"signpost/internal/setup"
	"signpost/internal/testbind"
	"signpost/internal/testdns"
	"signpost/keys"
	"signpost/keys/publish"
)

// The error of a refused UPDATE contains the answer, the server, the zone, and a hint about what to check.
func TestUpdateErrors(t *testing.T) {
	t.Parallel()
	h := newBINDHouse(t, rfc2136)
	closed := fakeServer(t, func(*dns.Msg) []byte { return nil })
	silent := fakeServer(t, func(*dns.Msg) []byte { <-t.Context().Done(); return nil })
	// Anyone on the network path could have sent these unsigned answers.
	unsigned := func(rcode int) string {
		return fakeServer(t, func(m *dns.Msg) []byte {
			text, err := new(dns.Msg).SetRcode(m, rcode).Pack()
			if err != nil {
				t.Error(err)
			}
			return text
		})
	}
	for _, c := range []struct {
		name   string
		change func(*publish.Update)
		want   string // after "server ADDR, zone example.org: "
	}{
		{"wrong secret", func(u *publish.Update) { u.Secret = "b3RoZXIgc2VjcmV0LCBub3QgdGhlIHJpZ2h0IG9uZSE=" },
			`answer NOTAUTH \(BADSIG\): the server has another secret for TSIG key "signpost"\nhint: compare publish.tsig_secret_file with`},
		{"wrong name", func(u *publish.Update) { u.TSIGName = "nobody" },
			`answer NOTAUTH \(BADKEY\): the server has no TSIG key "nobody" with algorithm hmac-sha256\nhint: compare publish.tsig_name and`},
		{"wrong algorithm", func(u *publish.Update) { u.Algorithm = "hmac-sha512" },
			`answer NOTAUTH \(BADKEY\): the server has no TSIG key "signpost" with algorithm hmac-sha512\nhint: compare publish.tsig_name and publish.tsig_algorithm`},
		{"clock behind", func(u *publish.Update) { u.Now = func() time.Time { return time.Now().Add(-10 * time.Minute) } },
			`answer NOTAUTH \(BADTIME\): this host's clock is (599|600|601) seconds behind the server's\nhint: set both clocks by NTP`},
		{"clock ahead", func(u *publish.Update) { u.Now = func() time.Time { return time.Now().Add(10 * time.Minute) } },
			`answer NOTAUTH \(BADTIME\): this host's clock is (599|600|601) seconds ahead of the server's\n`},
		{"update-policy denies", func(u *publish.Update) { u.TSIGName = "stranger" },
			`answer REFUSED: the server does not allow key "stranger" to update s._domainkey.example.org\nhint: check update-policy or allow-update of zone "example.org" in the server's named.conf`},
		{"unsigned NOTAUTH", func(u *publish.Update) { u.Server = unsigned(dns.RcodeNotAuth) }, `answer NOTAUTH: the server does not know the TSIG key, or is not authoritative`},
		{"NOTZONE", func(u *publish.Update) { u.Server = unsigned(dns.RcodeNotZone) }, `answer NOTZONE: `},
		{"SERVFAIL", func(u *publish.Update) { u.Server = unsigned(dns.RcodeServerFailure) }, `answer SERVFAIL: the server could not write`},
		{"NXDOMAIN", func(u *publish.Update) { u.Server = unsigned(dns.RcodeNameError) }, `answer NXDOMAIN: `},
		{"FORMERR", func(u *publish.Update) { u.Server = unsigned(dns.RcodeFormatError) }, `answer FORMERR: the server does not support DNS UPDATE`},
		{"NOTIMP", func(u *publish.Update) { u.Server = unsigned(dns.RcodeNotImplemented) }, `answer NOTIMP: the server does not support DNS UPDATE`},
		{"unknown", func(u *publish.Update) { u.Server = unsigned(12) }, `answer RCODE 12: `},
		{"unsigned success", func(u *publish.Update) { u.Server = unsigned(dns.RcodeSuccess) }, `the answer is not signed with TSIG key "signpost"`},
		{"unsigned YXRRSET", func(u *publish.Update) { u.Server = unsigned(dns.RcodeYXRrset) }, `answer YXRRSET: s._domainkey.example.org already has another TXT record`},
		{"connection refused", func(u *publish.Update) { u.Server = "127.0.0.1:1" }, `connection refused\nhint: check publish.server, and that the name server runs`},
		{"closed connection", func(u *publish.Update) { u.Server = closed }, `the server closed the connection\n`},
		{"timeout", func(u *publish.Update) { u.Server, u.Timeout = silent, time.Second }, `timeout after 1s \(publish.timeout\)\n`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := *h.env
			e.file = h.config
			d, err := e.app(io.Discard, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			publisher, err := setup.Publisher(d.conf, "example.org", d.store, d.rotator.Checker.Authority.(*signpostdns.Authority))
			if err != nil {
				t.Fatal(err)
			}
			u := publisher.(publish.Update)
			c.change(&u)
			const domain = "example.org"
			err = u.Publish(t.Context(), keys.Change{Action: keys.Add, Name: keys.RecordName(domain, "s"), TTL: 300, Text: "v=DKIM1; p=", Strings: []string{"v=DKIM1; p="}})
			want := "^updating s\\._domainkey\\." + regexp.QuoteMeta(domain) + ": server " + regexp.QuoteMeta(u.Server) + ", zone " + domain + ": " + c.want
			if err == nil || !regexp.MustCompile(want).MatchString(err.Error()) {
				t.Errorf("%v", err)
			}
			if txt, err := h.txt("s._domainkey.example.org"); err != nil || len(txt) > 0 {
				t.Errorf("DNS has %q %v", txt, err)
			}
		})
	}
}

// No UPDATE is sent for a zone that publish.server does not have. The operator is told to add the record, and the key signs when it is there.
func TestForeignZone(t *testing.T) {
	t.Parallel()
	bind := sharedBIND(t)
	other, err := testdns.Start(zoneOf("example.net"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Stop)
	h := houseAt(t, other.Addr(), netip.MustParseAddrPort(other.Addr()).Port(), strings.ReplaceAll(rfc2136, "%BIND%", bind.Addr())+"[keys]\nalgorithms = [\"ed25519\"]\n")
	out, code := h.run("add", "example.net", "--selector", "s1")
	if code != 0 || !strings.Contains(out, "key s1: zone example.net is not on server "+bind.Addr()+", so no update is sent: add its record to DNS") || !strings.Contains(out, "s1._domainkey.example.net") {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	if out := h.must("rotate"); strings.Contains(out, "add its record") { // the reminder is repeated after a week
		t.Error(out)
	}
	record, err := os.ReadFile(filepath.Join(h.dir, "state/keys/example.net/s1.json"))
	if err != nil {
		t.Fatal(err)
	}
	var metadata keys.Metadata
	if err := json.Unmarshal(record, &metadata); err != nil {
		t.Fatal(err)
	}
	if err := other.SetZone(zoneOf("example.net") + "s1._domainkey IN TXT \"" + metadata.Record + "\"\n"); err != nil {
		t.Fatal(err)
	}
	h.must("rotate")
	h.now = h.now.Add(3 * time.Hour)
	h.run("rotate") // exit code 1: the record of the standby key must be added too
	if got := h.signing("example.net"); got != "s1" {
		t.Errorf("%q signs:\n%s", got, h.must("status"))
	}
	// A compromised key: the operator must empty the record.
	out, _ = h.run("revoke", "example.net", "s1", "--compromised")
	if !strings.Contains(out, "key s1: zone example.net is not on server") || !strings.Contains(out, `replace its record with "v=DKIM1; k=ed25519; p="`) {
		t.Errorf("revoke: %s", out)
	}
	// Anyone with the key can sign until the record is empty, so each run repeats the reminder.
	h.now = h.now.Add(time.Hour)
	if out, code := h.run("rotate"); code != 1 || !strings.Contains(out, `still has its record; replace it with "v=DKIM1; k=ed25519; p="`) {
		t.Errorf("rotate after revoke: exit code %d\n%s", code, out)
	}
	if out, _ := h.run("status", "example.net"); !strings.Contains(out, "its record is not confirmed to be empty") {
		t.Errorf("status: %s", out)
	}
	if err := other.SetZone(zoneOf("example.net") + "s1._domainkey IN TXT \"v=DKIM1; k=ed25519; p=\"\n"); err != nil {
		t.Fatal(err)
	}
	if out, _ := h.run("rotate"); strings.Contains(out, "replace it with") {
		t.Errorf("the record is empty: %s", out)
	}
	if out, _ := h.run("status", "example.net"); strings.Contains(out, "not confirmed to be empty") {
		t.Errorf("the record is empty: %s", out)
	}
	if log := bind.Log(); strings.Contains(log, "updating zone 'example.net") {
		t.Errorf("the server has received an UPDATE: %s", log)
	}
}

// The output of a command has the hint on a separate line.
func TestUpdateErrorHint(t *testing.T) {
	t.Parallel()
	h := newBINDHouse(t, rfc2136)
	h.write("tsig", "b3RoZXIgc2VjcmV0LCBub3QgdGhlIHJpZ2h0IG9uZSE=\n", 0o600)
	out, code := h.run("add", "example.org")
	if code != 1 || !strings.Contains(out, "(BADSIG): ") || !strings.Contains(out, "\nhint: compare publish.tsig_secret_file") {
		t.Errorf("%d %s", code, out)
	}
}

// TSIG names are domain names, so they are case-insensitive.
func TestTSIGNameCase(t *testing.T) {
	t.Parallel()
	h := newBINDHouse(t, strings.Replace(rfc2136, `"signpost"`, `"SignPost."`, 1))
	h.must("add", named.zone(t))
}

// fakeServer answers each DNS message over TCP with the result of answer. A nil result closes the connection.
func fakeServer(t *testing.T, answer func(*dns.Msg) []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		if text := answer(m); text != nil {
			if _, err := w.Write(text); err != nil {
				t.Log(err)
			}
		}
		w.Close()
	}), MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }}
	started := make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	go s.ActivateAndServe()
	<-started
	t.Cleanup(func() { s.Shutdown() })
	return l.Addr().String()
}

// A zone is not foreign if the server has it, but allow-query excludes this host. BIND then refuses the UPDATE too.
func TestHiddenZone(t *testing.T) {
	t.Parallel()
	bind := sharedBIND(t)
	other, err := testdns.Start(zoneOf("hidden.example"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Stop)
	h := houseAt(t, other.Addr(), netip.MustParseAddrPort(other.Addr()).Port(), strings.ReplaceAll(rfc2136, "%BIND%", bind.Addr())+"[keys]\nalgorithms = [\"ed25519\"]\n")
	if out, code := h.run("add", "hidden.example", "--selector", "s1"); code != 1 || !strings.Contains(out, "answer REFUSED: ") || !strings.Contains(out, "allow-query must include this host") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// Knot DNS: a zone that it does not have is foreign.
func TestForeignZoneKnot(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs Knot DNS")
	}
	knot, err := testbind.StartKnot(t.Context(), "127.0.0.1", map[string]string{"example.org.": exampleZone})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := knot.Stop(); err != nil {
			t.Error(err)
		}
	})
	other, err := testdns.Start(zoneOf("example.net"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Stop)
	h := houseAt(t, other.Addr(), netip.MustParseAddrPort(other.Addr()).Port(), strings.ReplaceAll(rfc2136, "%BIND%", knot.Addr())+"[keys]\nalgorithms = [\"ed25519\"]\n")
	if out, code := h.run("add", "example.net", "--selector", "s1"); code != 0 || !strings.Contains(out, "zone example.net is not on server "+knot.Addr()+", so no update is sent") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}
