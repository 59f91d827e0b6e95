package e2e

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/dns"
)

// round plants several faults at once, because each run takes a second. They do not hide one another.
type round struct {
	name   string
	main   []string            // postconf -e
	master []string            // postconf -P, with SUBMISSION for the service
	zone   func(string) string // changes the DNS records
	toml   string              // replaces the configuration after the sockets and directories; the daemon reloads
	plant  func(w *trialWorld) // another fault
	undo   func(w *trialWorld) // removes it
	args   []string            // instead of those of a login
	faults map[string][]string // by the fault: texts of the output, in one finding or several
}

// without removes the lines of a zone that contain a text.
func without(text string) func(string) string {
	return func(zone string) string {
		var b strings.Builder
		for line := range strings.Lines(zone) {
			if !strings.Contains(line, text) {
				b.WriteString(line)
			}
		}
		return b.String()
	}
}

// replacing replaces texts in a zone. Old and new texts alternate.
func replacing(pairs ...string) func(string) string { return strings.NewReplacer(pairs...).Replace }

const (
	spfText   = `"v=spf1 ip4:8.8.8.8 -all"`
	dmarcText = `"v=DMARC1; p=reject; rua=mailto:dmarc@example.org"`
)

// Each fault in Postfix, DNS and keys has a red or yellow finding that names it, and its fix. Two worlds share the rounds, to save time.
func TestTrialNamesFaults(t *testing.T) {
	for half, name := range []string{"even rounds", "odd rounds"} {
		t.Run(name, func(t *testing.T) {
			w := newTrialWorld(t)
			w.timeout = "12s"
			n := 0
			for i, r := range trialRounds(t, w) {
				if n += len(r.faults); i%2 == half {
					w.round(r)
				}
			}
			if n < 30 {
				t.Errorf("%d faults, want 30", n)
			}
		})
	}
}

// trialRounds returns the rounds. The last one stops Postfix.
func trialRounds(t *testing.T, w *trialWorld) []round {
	key := w.onlyKey()
	return []round{
		{name: "no records", zone: func(z string) string { return without("_dmarc")(without("_domainkey")(without(spfText)(z))) }, faults: map[string][]string{
			"the key is not published": {"red    record: the record of the key " + key.name + " is not published, or is another one", "red    dkim: the record of the DKIM key " + key.selector + " of example.org is missing", "fix    " + key.name + ". IN TXT"},
			"no SPF record":            {"red    spf: example.org has no SPF record", `fix    example.org. IN TXT "v=spf1`},
			"no DMARC record":          {"receivers: receivers find dkim=fail for d=example.org, and dmarc=none: example.org has no DMARC policy", "red    dmarc: example.org has no DMARC record"}}},
		{name: "two records", zone: func(z string) string {
			return strings.ReplaceAll(z, key.text, `"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="`) + "example.org. 60 IN TXT \"v=spf1 mx ~all\"\n_dmarc.example.org. 60 IN TXT \"v=DMARC1; p=none\"\n"
		}, faults: map[string][]string{
			"the record of another key": {"red    dkim: the record of the DKIM key " + key.selector + " of example.org contains another key", "in DNS:"},
			"two SPF records":           {"red    spf: 2 SPF records at example.org"},
			"two DMARC records":         {"red    dmarc: 2 DMARC records at _dmarc.example.org"}}},
		{name: "wrong records", zone: replacing("v=DKIM1;", "v=DKIM1; t=y;", "ip4:8.8.8.8", "ip4:8.8.4.4", "p=reject;", "p=rejected;"), faults: map[string][]string{
			"a key for tests":         {"dkim: the record of the DKIM key " + key.selector + " of example.org contains t=y (testing)"},
			"SPF without this host":   {"red    spf: the SPF record of example.org does not allow this host"},
			"an invalid DMARC record": {" dmarc: the DMARC record of example.org"}}},
		{name: "names and syntax", zone: replacing(key.name+".", key.name+".example.org.", "ip4:8.8.8.8", "ip4:8.8.8.8.8"), faults: map[string][]string{
			"the final dot is missing in the zone file": {"the record is at a name that contains the domain twice"},
			"an error in SPF": {"red    spf: the SPF record of example.org has an error"}}},
		{name: "no DNS", zone: func(z string) string {
			return ";fault . SERVFAIL\n;fault example.org SERVFAIL\n;fault " + key.name + " SERVFAIL\n"
		}, faults: map[string][]string{
			"no DNS server answers": {"yellow record: not all name servers answer for " + key.name}}},
		{name: "no milters", main: []string{"non_smtpd_milters =", "smtpd_milter ="}, master: []string{"SUBMISSION/smtpd_milters="}, faults: map[string][]string{
			"sendmail(1) without milters":    {"red    milter: Signpost did not process the message", "red    non-smtpd-milters: Signpost is not in non_smtpd_milters of cleanup/unix"},
			"the submission without milters": {"red    smtpd-milters: Signpost is not in smtpd_milters of "},
			"a misspelt parameter":           {"postfix: unknown Postfix parameter smtpd_milter; did you mean smtpd_milters?"}}},
		{name: "no_milters", master: []string{"SUBMISSION/receive_override_options=no_milters", "pickup/unix/receive_override_options=no_milters"}, faults: map[string][]string{
			"the submission overrides its milters": {"/inet runs no milters: receive_override_options contains no_milters"},
			"pickup(8) overrides its milters":      {"red    non-smtpd-milters: pickup/unix runs no milters"}}},
		{name: "a wrong socket", main: []string{"smtpd_milters = unix:" + w.dir + "/signpost.sock", "non_smtpd_milters = $smtpd_milters", "milter_default_action = accept"}, faults: map[string][]string{
			"the wrong path":        {"red    socket-path: ", "connects to " + w.dir + "/signpost.sock, but the daemon listens on " + w.dir + "/milter.sock"},
			"default action accept": {"red    default-action: default_action is accept"},
		}},
		{name: "an old protocol", main: []string{"milter_protocol = 4", "milter_content_timeout = 30s"}, faults: map[string][]string{
			"milter protocol 4": {"red    milter-protocol: Postfix uses milter protocol 4"},
			"a short timeout":   {"yellow milter-timeouts: Postfix waits 30s"}}},
		{name: "no permission", plant: func(w *trialWorld) { w.must(os.Chmod(w.dir, 0o700)) }, undo: func(w *trialWorld) { w.must(os.Chmod(w.dir, 0o755)) }, faults: map[string][]string{
			"Postfix may not search the directory": {"red    socket-access: permission denied: user postfix cannot search " + w.dir, "chmod 2710 "},
			"sendmail's message waits":             {"red    queue: Postfix has not queued the message, because a milter failed or rejected it"},
			"users cannot log in":                  {"red    queue: Postfix accepts neither logins nor mail at ", "454 4.3.0"}}},
		{name: "observe", toml: "mode = \"observe\"\n", faults: map[string][]string{
			"observe mode": {"yellow signature: the message was not signed, because the mode is observe; in enforce mode it is signed: d=example.org", "yellow mode: "}}},
		{name: "the login", toml: "[sign.login_domains]\n\"ann@example.org\" = [\"example.net\"]\n", faults: map[string][]string{
			"the login may not use the domain": {"red    signature: the message was not signed: ", "code=login_mismatch", "sign.login_domains"}}},
		{name: "no journal", toml: "[journal]\nenabled = false\n", faults: map[string][]string{
			"the journal is off": {"yellow milter: it is not known what Signpost did with the message: there is no journal", "fix    enabled = true # in [journal]"}}},
		{name: "not hosted", args: []string{"--from", "ann@example.net", "bob@example.org"}, faults: map[string][]string{
			"the domain has no key": {"red    signature: the message was not signed: ", "code=not_hosted", "fix    dkimkey add example.net"}}},
		{name: "changed after signing", main: []string{"smtp_generic_maps = static:x@example.com", "smtp_line_length_limit = 80", "smtp_discard_ehlo_keywords = 8bitmime", "mynetworks = 127.0.0.0/8 198.51.100.0/24"}, faults: map[string][]string{
			"smtp_generic_maps":          {"yellow generic-maps: smtp/unix rewrites addresses after signing"},
			"short lines":                {"yellow eight-bit: smtp/unix breaks lines after 80 bytes"},
			"no 8BITMIME":                {"yellow eight-bit: smtp/unix ignores 8BITMIME of other servers"},
			"a network that is not ours": {"red    mynetworks: mynetworks contains networks that are not in trusted_networks: 198.51.100.0/24"}}},
		{name: "another milter", main: []string{"smtpd_milters = unix:" + w.dir + "/milter.sock { inet:127.0.0.1:1, default_action=accept }"}, faults: map[string][]string{
			"a milter after Signpost": {"yellow milter-order: milters come after Signpost in smtpd_milters"},
			"a milter is not running": {"socket-answers: nothing listens at inet:127.0.0.1:1"}}},
		{name: "rewriting", main: []string{"sender_canonical_maps = inline:{ ann@example.org=ann@example.com }"}, faults: map[string][]string{
			"Postfix changes From": {"red    signature: Postfix changed the domain in From from example.org to example.com", "where  main.cf: sender_canonical_maps"}}},
		{name: "TLS", main: []string{"smtpd_tls_chain_files = " + expired(t), "smtpd_tls_security_level = may", "smtpd_tls_auth_only = yes"}, faults: map[string][]string{
			"the certificate has expired": {"red    queue: the TLS certificate of the submission service has expired", "green  queue: Postfix accepted the message at " + w.Submission, "code=authenticated"}}},
		{name: "a login map", main: []string{"smtpd_sender_login_maps = static:carol", "smtpd_sender_restrictions = reject_sender_login_mismatch"}, faults: map[string][]string{
			"the login may not use the sender": {"red    queue: Postfix does not let login ann@example.org send as ann@example.org", "553 5.7.1"}}},
		{name: "no AUTH", master: []string{"SUBMISSION/smtpd_sasl_auth_enable=no"}, faults: map[string][]string{
			"the service has no AUTH": {"red    queue: users cannot log in at " + w.Submission, "does not offer AUTH"}}},
		{name: "a content filter", main: []string{"content_filter = smtp:[127.0.0.1]:" + port(w.Reinject)}, faults: map[string][]string{
			"a filter returns the signed message": {"yellow delivery: a content filter received the message after Signpost had signed it, and returned it as "},
			"the message passes Signpost twice":   {"yellow reinjection: "}}},
		{name: "an unknown recipient", args: []string{"nobody@example.org"}, faults: map[string][]string{
			"the message cannot be delivered": {"red    delivery: Postfix could not deliver the message to nobody@example.org", "mailbox unknown"}}},
		{name: "no service", args: w.login("--server", "127.0.0.1:1"), faults: map[string][]string{
			"nothing listens": {"red    queue: no SMTP service answers at 127.0.0.1:1", "connection refused"}}},
		{name: "forged, observe", toml: "mode = \"observe\"\n", args: []string{"--forge", "--server", w.SMTP}, faults: map[string][]string{
			"forged mail is accepted": {"yellow forgery: the message was accepted, because the mode is observe; in enforce mode the action is reject"}}},
		{name: "forged, no milters", main: []string{"smtpd_milters ="}, args: []string{"--forge", "--server", w.SMTP}, faults: map[string][]string{
			"inbound mail without milters": {"red    forgery: the message was not rejected, and it is not in the journal of Signpost", "red    smtpd-milters: Signpost is not in smtpd_milters of "}}},
		{name: "forged, from here", main: []string{"smtpd_authorized_xclient_hosts ="}, args: []string{"--forge", "--server", w.SMTP}, faults: map[string][]string{
			"Postfix trusts all clients": {"yellow forgery: no forged message was sent: there is no client address that Postfix does not trust", "fix    signpost test --forge --socket"}}},
		{name: "forged, ORIGINATING", main: []string{"milter_macro_daemon_name = ORIGINATING"}, args: []string{"--forge", "--server", w.SMTP}, faults: map[string][]string{
			"the service trusts every client": {"red    forgery: Signpost trusts a client of another host, 192.0.2.1: role=sign code=originating"}}},
		{name: "forged, p=none", zone: replacing("p=reject;", "p=none;"), args: []string{"--forge", "--server", w.SMTP}, faults: map[string][]string{
			"no policy": {"yellow dmarc: example.org has no policy quarantine or reject, so no server rejects forged mail of this domain"}}},
		{name: "a damaged key", plant: func(w *trialWorld) {
			w.must(os.WriteFile(key.file, []byte("damaged"), 0o600))
			w.logged("level=ERROR", key.selector)
		},
			undo: func(w *trialWorld) { w.must(os.WriteFile(key.file, key.pem, 0o600)) }, faults: map[string][]string{
				"the key is unusable": {"red    dkim: the key " + key.selector + " of example.org is unusable"}}},
		{name: "no daemon", plant: func(w *trialWorld) { w.stop() }, undo: func(w *trialWorld) { w.start("signpost") }, faults: map[string][]string{
			"the daemon is not running": {"red    socket-answers: the socket " + w.dir + "/milter.sock does not exist: the daemon is not running"}}},
		{name: "no Postfix", args: []string{"bob@example.org"}, plant: func(w *trialWorld) { _, err := w.Run(w.context(), "postfix", "stop"); w.must(err) }, faults: map[string][]string{
			"Postfix is not running": {"red    queue: Postfix is not running: the message waits in the maildrop queue", "fix    postfix start"}}},
	}
}

// expired returns a file with a key and a certificate that was valid until yesterday.
func expired(t *testing.T) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.org"}, NotBefore: time.Now().AddDate(0, 0, -9), NotAfter: time.Now().AddDate(0, 0, -1)}
	der, err := x509.CreateCertificate(nil, c, c, public, private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "chain.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (w *trialWorld) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// round plants the faults of a round, runs signpost test, and removes the faults.
func (w *trialWorld) round(r round) {
	w.t.Helper()
	etc := filepath.Join(w.Dir, "etc")
	saved := map[string][]byte{}
	for _, file := range []string{etc + "/main.cf", etc + "/master.cf", w.config} {
		text, err := os.ReadFile(file)
		w.must(err)
		saved[file] = text
	}
	for _, s := range r.main {
		_, err := w.Run(w.context(), "postconf", "-e", s)
		w.must(err)
	}
	for _, s := range r.master {
		_, err := w.Run(w.context(), "postconf", "-P", strings.ReplaceAll(s, "SUBMISSION", w.Submission+"/inet"))
		w.must(err)
	}
	w.reload() // also without a change: pickup(8) is faster after its start
	if r.zone != nil {
		w.must(w.dns.SetZone(r.zone(w.zone)))
	}
	if r.toml != "" {
		text := string(saved[w.config])
		if strings.HasPrefix(r.toml, "[") {
			text += r.toml
		} else {
			text = r.toml + text
		}
		w.must(os.WriteFile(w.config, []byte(text), 0o644))
		w.restart()
	}
	if r.plant != nil {
		r.plant(w)
	}
	args := r.args
	if args == nil {
		args = w.login()
	}
	_, out := w.test(args...)
	failed := false
	for fault, texts := range r.faults {
		for _, text := range texts {
			if !strings.Contains(out, text) {
				failed = true
				w.t.Errorf("%s: %s: no %q", r.name, fault, text)
			}
		}
	}
	if failed {
		w.t.Log(out)
	}
	if r.undo != nil {
		r.undo(w)
	}
	for file, text := range saved {
		w.must(os.WriteFile(file, text, 0o644))
	}
	w.must(w.dns.SetZone(w.zone))
	if r.toml != "" {
		w.restart()
	}
}

// restart restarts the daemon.
func (w *trialWorld) restart() {
	w.t.Helper()
	w.stop()
	w.start("signpost")
}

// onlyKey is the key of the world.
type onlyKey struct {
	selector, name, text, file string
	pem                        []byte
}

func (w *trialWorld) onlyKey() (k onlyKey) {
	w.t.Helper()
	for name, text := range w.records() {
		k.name, k.text = name, dns.QuoteTXT(text, " ")
	}
	k.selector, _, _ = strings.Cut(k.name, ".")
	k.file = filepath.Join(w.dir, "state", "keys", "example.org", k.selector+".pem")
	var err error
	k.pem, err = os.ReadFile(k.file)
	w.must(err)
	return k
}
