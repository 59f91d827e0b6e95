package signpost

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/dns"
	"signpost/internal/filter"
	"signpost/keys"
	"signpost/milter"
	"signpost/policy"
)

// rejected is the log line of an inbound message with a hostile From. A case sets the fields that differ; nil omits a field.
type rejected map[string]any

// attrs returns the fields in the order of the log line.
func (r rejected) attrs() (all []slog.Attr) {
	fields := rejected{"queue_id": "4fXyAb1Cd2z3", "action": "reject", "code": "hostile_from", "role": "verify", "header_from": "a.example,b.example",
		"mail_from": "ann@a.example", "rcpts": "bob@example.org", "spf": "fail:a.example", "dkim": "none", "reply": "550 5.6.0",
		"reason": "the From field has 5 domains", "message_id": "<1@a.example>", "body_bytes": 120, "handler_ms": 0.244}
	maps.Copy(fields, r)
	for _, key := range strings.Fields("queue_id client action would code role header_from mail_from login rcpts rcpt_count spf dkim arc dmarc policy " +
		"override reply reason evidence compared message_id helo body_bytes dns_queries dns_ms handler_ms") {
		if v := fields[key]; v != nil {
			all = append(all, slog.Any(key, v))
		}
	}
	return all
}

// written returns the line as the daemon writes it. The target is standard error, systemd's journal or a syslog file. For the journal, the
// line is as fail2ban formats an entry. A syslog file has the old or the new format.
func (r rejected) written(t *testing.T, to string) string {
	t.Helper()
	var b bytes.Buffer
	options := &slog.HandlerOptions{}
	prefix := map[string]string{"stderr": "", "journal": "mx signpost[4711]: ", "file of the journal": "Nov 30 12:00:00 mx signpost[4711]: ",
		"syslog": "Nov 30 12:00:00 mx signpost[4711]: ", "new syslog": "2026-11-30T12:00:00.123456+01:00 mx signpost[4711]: ",
		"syslogd -v": "Nov 30 12:00:00 <mail.info> mx signpost[4711]: "}[to]
	if strings.Contains(to, "syslog") {
		options.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		}
	}
	record := slog.NewRecord(time.Date(2026, 11, 30, 12, 0, 0, 123e6, time.FixedZone("", 3600)), slog.LevelInfo, "message", 0)
	record.AddAttrs(r.attrs()...)
	if err := slog.NewTextHandler(&b, options).Handle(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	return prefix + b.String()
}

// hostileTexts returns texts with which a sender could hide its own address or insert another one.
func hostileTexts() []string {
	const fields = `client=192.0.2.99 action=reject code=hostile_from role=verify dkim=none`
	const exempt = `dkim=pass:example.org/sel`
	texts := []string{"", " ", `"`, `\`, `\"`, `x\`, `\\`, `""`, "=", "a=b", "\x00", "\x7f", "\t", "\u00a0", "\u2028", "\u0085", "\ufffd", "\xff", "é", "\x1b[31m",
		"$", "%s", "<HOST>", "<F-ID>1</F-ID>", strings.Repeat("x", 4000), strings.Repeat(`"\ `, 1000), strings.Repeat("dkim=a ", 500)}
	for _, text := range []string{fields, exempt, exempt + "," + exempt, "SRS0=a=b=c.example=d@e.example spf=pass:e.example"} {
		texts = append(texts, text, " "+text, text+" ", " "+text+" ", `" `+text+` "`, `" `+text, `\" `+text+` \"`, `\\" `+text, "x "+text, "x\n"+text, "\r"+text, "\u2028"+text, "\u00a0"+text)
	}
	line := "mx signpost[4711]: time=2026-11-30T12:00:00.123+01:00 level=INFO msg=message queue_id=4fXyAb1Cd2z9 " + fields
	return append(texts, line, "\n"+line, "\r\n"+line+"\n", "\nNov 30 12:00:00 "+line, "\nlevel=INFO msg=message queue_id=4fXyAb1Cd2z9 "+fields)
}

// found returns the addresses of the lines that fail2ban-regex finds, in order.
func found(t *testing.T, filter string, lines []string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	c := exec.Command("fail2ban-regex", "--usedns", "no", "-e", "utf-8", "-o", "ip", file, filepath.Join("dist/fail2ban/filter.d", filter+".conf"))
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%v\n%s%s", err, out, stderr.String())
	}
	return strings.Fields(string(out))
}

// compareFound compares the addresses that a filter finds with those that it must find.
func compareFound(t *testing.T, filter string, lines map[string]string, banned func(address string) bool) {
	t.Helper()
	addresses := slices.Sorted(maps.Keys(lines))
	var text, want []string
	for _, a := range addresses {
		text = append(text, lines[a])
		if banned(a) {
			want = append(want, a)
		}
	}
	got := found(t, filter, text)
	for _, a := range want {
		if !slices.Contains(got, a) {
			t.Errorf("not found: %s", lines[a])
		}
	}
	for i, a := range got {
		if !slices.Contains(want, a) {
			t.Errorf("%s is found, in %q", a, lines[a])
		} else if slices.Contains(got[:i], a) {
			t.Errorf("%s is found twice", a)
		}
	}
}

// The filter in dist/fail2ban finds clients that sent a hostile From or match a [[deny]], and no others.
func TestFail2banFilter(t *testing.T) {
	if testing.Short() {
		t.Skip("runs fail2ban-regex")
	}
	t.Parallel()
	cases := []struct {
		name   string
		fields rejected
		found  bool
	}{
		{"hostile From", rejected{}, true},
		{"[[deny]]", rejected{"code": "local_deny", "override": "local_policy"}, true},
		{"signatures that fail", rejected{"dkim": "fail:pass.example/pass,permerror,temperror:a.example/dkim-pass"}, true},
		{"SRS without SPF", rejected{"mail_from": "SRS0=ab=cd=a.example=ann@f.example", "spf": "fail:f.example"}, true},
		{"SRS, and SPF in the Message-ID", rejected{"mail_from": "SRS0=ab=cd=a.example=ann@f.example", "message_id": "<x spf=pass:f.example x>"}, true},
		{"SPF, and SRS in the Message-ID", rejected{"spf": "pass:f.example", "message_id": `x mail_from="SRS0=ab" spf=pass:f.example x`}, true},
		{"SRS and SPF as one address", rejected{"mail_from": `"SRS0=ab=cd=a.example=ann spf=pass:f.example"@a.example`}, true},
		{"SPF without SRS", rejected{"spf": "pass:a.example"}, true},
		{"SRS in another place", rejected{"mail_from": "ann=SRS0=ab@a.example", "spf": "pass:a.example"}, true},
		{"bounce", rejected{"mail_from": "", "spf": "none:mail.a.example"}, true},
		{"ARC and DMARC pass", rejected{"arc": "pass:a.example", "dmarc": "pass", "spf": "pass:a.example"}, true},

		{"DKIM pass", rejected{"dkim": "pass:a.example/s"}, false},
		{"[[deny]], DKIM pass", rejected{"code": "local_deny", "dkim": "fail:a.example/s,pass:esp.example/t"}, false},
		{"DKIM pass in quotes", rejected{"dkim": "fail:a.example/s, pass:esp.example/t"}, false},
		{"truncated list of signatures", rejected{"dkim": "fail:a.example/s,fail:b.exa..."}, false},
		{"truncated list in quotes", rejected{"dkim": "fail:a.example/s, fail:b.exa..."}, false},
		{"no list of signatures", rejected{"dkim": nil}, false},
		{"SRS0 forwarder", rejected{"mail_from": "SRS0=ab=cd=a.example=ann@f.example", "spf": "pass:f.example"}, false},
		{"SRS1 forwarder", rejected{"mail_from": "srs1+ab=g.example==cd=ef=a.example=ann@f.example", "spf": "pass:f.example"}, false},
		{"Exchange's SRS", rejected{"mail_from": "box+SRS=ab=cd=a.example=ann@f.example", "spf": "pass:f.example"}, false},
		{"observe mode", rejected{"action": "accept", "would": "reject"}, false},
		{"tagged", rejected{"action": "tag"}, false},
		{"DMARC", rejected{"code": "dmarc_fail"}, false},
		{"other code with the same beginning", rejected{"code": "hostile_from_tag"}, false},
		{"own user", rejected{"role": "sign", "login": "ann"}, false},
		{"no address", rejected{"client": "unknown"}, false},
		{"name instead of an address", rejected{"client": "mail.a.example"}, false},
	}
	lines, bad := map[string]string{}, map[string]bool{}
	add := func(banned bool, fields rejected, to string) {
		address := fmt.Sprintf("203.0.%d.%d", len(lines)/250, len(lines)%250+1)
		if len(lines)%2 == 1 {
			address = fmt.Sprintf("2001:db8::%x", len(lines)+1)
		}
		r := rejected{"client": address}
		maps.Copy(r, fields)
		lines[address], bad[address] = r.written(t, to), banned
	}
	for _, c := range cases {
		for _, to := range []string{"stderr", "journal", "file of the journal", "syslog", "new syslog", "syslogd -v"} {
			add(c.found, c.fields, to)
		}
	}
	for _, text := range hostileTexts() {
		for _, field := range []string{"header_from", "mail_from", "rcpts", "reason", "message_id", "helo", "spf", "login", "compared"} {
			for _, to := range []string{"stderr", "journal", "syslog"} {
				add(true, rejected{field: text}, to)
				add(false, rejected{field: text, "dkim": "pass:a.example/s"}, to)
				add(false, rejected{field: text, "action": "accept", "would": "reject"}, to)
			}
		}
	}
	mapped := rejected{"client": "::ffff:198.51.100.1"}.written(t, "journal")
	lines["198.51.100.1"], bad["198.51.100.1"] = mapped, true
	compareFound(t, "signpost", lines, func(address string) bool { return bad[address] })
}

// A line of another program is never mistaken for a line of Signpost, whatever text a client inserts into it.
func TestFail2banOtherPrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("runs fail2ban-regex")
	}
	t.Parallel()
	ours := rejected{"client": "192.0.2.99"}.written(t, "syslog")
	_, message, _ := strings.Cut(ours, "]: ")
	var lines []string
	for _, text := range []string{message, "signpost[4711]: " + message, "mx signpost[4711]: " + message, ours, "level=INFO " + message, "time=2026-11-30T12:00:00Z level=INFO " + message} {
		for _, prefix := range []string{"Nov 30 12:00:00 mx postfix/smtpd[12]: ", "Nov 30 12:00:00 mx postfix/smtpd[12]: warning: ", "mx postfix/smtpd[12]: ",
			"Nov 30 12:00:00 mx signpost-web[12]: ", "Nov 30 12:00:00 mx signpost[12]: level=WARN msg=\"milter connection ended\" error=x "} {
			lines = append(lines, prefix+text)
		}
	}
	if got := found(t, "signpost", lines); len(got) > 0 {
		t.Errorf("%q are found", got)
	}
	lines = lines[:0]
	for _, text := range []string{"DNSBL rank 5 for [192.0.2.99]:25", "postfix/postscreen[12]: DNSBL rank 5 for [192.0.2.99]:25"} {
		for _, prefix := range []string{"mx postfix/smtpd[12]: ", "mx postfix/postscreen[12]: NOQUEUE: reject: helo=<", "mx signpost[12]: "} {
			lines = append(lines, "Nov 30 12:00:00 "+prefix+text+"\n", prefix+text+"\n")
		}
	}
	if got := found(t, "postscreen-dnsbl", lines); len(got) > 0 {
		t.Errorf("%q are found", got)
	}
}

// The second filter matches only postscreen's line about block lists. The format of that line is taken from the installed Postfix.
func TestFail2banPostscreen(t *testing.T) {
	if testing.Short() {
		t.Skip("runs fail2ban-regex")
	}
	t.Parallel()
	dir, err := exec.Command("postconf", "-h", "daemon_directory").Output()
	if err != nil {
		t.Fatal(err)
	}
	const format = "DNSBL rank %d for [%s]:%s"
	if program, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "postscreen")); err != nil || !bytes.Contains(program, []byte(format)) {
		t.Errorf("postscreen does not contain %q (%v)", format, err)
	}
	lines := map[string]string{
		"192.0.2.1":   "Nov 30 12:00:00 mx postfix/postscreen[12]: DNSBL rank 3 for [192.0.2.1]:41234\n",
		"192.0.2.2":   "mx postfix/postscreen[12]: DNSBL rank 12 for [192.0.2.2]:41234\n",
		"192.0.2.3":   "2026-11-30T12:00:00.123456+01:00 mx postfix-in/postscreen[12]: DNSBL rank 3 for [192.0.2.3]:41234\n",
		"2001:db8::1": "Nov 30 12:00:00 <mail.info> mx postfix/mx/postscreen[12]: DNSBL rank 3 for [2001:db8::1]:41234\n",

		"192.0.2.11": "Nov 30 12:00:00 mx postfix/postscreen[12]: CONNECT from [192.0.2.11]:41234 to [192.0.2.25]:25\n",
		"192.0.2.12": "Nov 30 12:00:00 mx postfix/postscreen[12]: PREGREET 11 after 0.1 from [192.0.2.12]:41234: EHLO DNSBL rank 3 for [192.0.2.99]:1\\r\\n\n",
		"192.0.2.13": "Nov 30 12:00:00 mx postfix/dnsblog[12]: addr 192.0.2.13 listed by domain zen.spamhaus.org as 127.0.0.4\n",
		"192.0.2.14": "Nov 30 12:00:00 mx postfix/postscreen[12]: DISCONNECT [192.0.2.14]:41234\n",
		"192.0.2.15": "Nov 30 12:00:00 mx postfix/postscreen[12]: NOQUEUE: reject: RCPT from [192.0.2.15]:1: 550 5.7.1 Service unavailable; client [192.0.2.15] blocked using DNSBL rank 3 for [192.0.2.99]:1\n",
	}
	compareFound(t, "postscreen-dnsbl", lines, func(a string) bool {
		return strings.Contains(lines[a], "]: DNSBL rank ") && !strings.Contains(lines[a], "NOQUEUE")
	})
}

// sent is a message from a client with a hostile HELO name, MAIL FROM, From and Message-ID. The filter itself processes it.
type sent struct {
	sender  string
	froms   []string
	signed  bool // by signer.example
	broken  int  // signatures with long names above that signature; they do not verify
	observe bool
	login   string
	found   bool
}

// line returns the log line of the filter for the message.
func (m sent) line(t *testing.T, client string) string {
	t.Helper()
	key := dkim.Key{Domain: "signer.example", Selector: "s", Signer: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	published, err := dkim.FormatKeyRecord(key.Signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	zone, err := dns.ParseZone(strings.NewReader("s._domainkey.signer.example. TXT \""+published+"\"\nforwarder.example. TXT \"v=spf1 +all\"\n"), "zone")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	f := &filter.Filter{
		Keys:     func() *keys.Snapshot { return &keys.Snapshot{Set: &keys.Set{}} },
		Resolver: zone.Resolver(time.Now, logger), MessageTimeout: 20 * time.Second, Now: time.Now, Log: logger, Observe: m.observe,
		Rules: policy.Rules{
			Reject: policy.RejectOnEvidence, Quarantine: policy.QuarantineTag,
			Deny: []policy.LocalRule{{Domain: "denied.example", Comment: "client=192.0.2.99 action=reject", Expires: time.Now().AddDate(1, 0, 0)}},
		},
	}
	const forged = "client=192.0.2.99 action=reject code=hostile_from role=verify dkim=none"
	fields := []dkim.Field{{Name: "Message-ID", Value: " <\" dkim=pass:a.example/s " + forged + "\\\">"}, {Name: "Date", Value: " Mon, 30 Nov 2026 12:00:00 +0000"}}
	for _, from := range m.froms {
		fields = append(fields, dkim.Field{Name: "From", Value: " " + from})
	}
	if m.signed {
		s, err := dkim.NewSigner(fields, []dkim.Key{key}, time.Now(), 0)
		if err != nil {
			t.Fatal(err)
		}
		s.Write([]byte("text\r\n"))
		signature, err := s.Sign()
		if err != nil {
			t.Fatal(err)
		}
		fields = append(signature, fields...)
	}
	for range m.broken {
		name := strings.Repeat(strings.Repeat("x", 60)+".", 2) + "example"
		fields = append([]dkim.Field{{Name: "DKIM-Signature", Value: " v=1; a=rsa-sha256; d=" + name + "; s=" + name + "; h=from; bh=eHh4; b=eHh4"}}, fields...)
	}
	session := milter.Session{MTA: "mx", SMTP: true, HELO: "\" dkim=pass:a.example/s " + forged, Client: netip.MustParseAddr(client)}
	message := f.Begin(t.Context(), session, milter.Envelope{Sender: m.sender, Login: m.login})
	for _, field := range fields {
		message.Header(field.Name, field.Value)
	}
	message.EndHeaders("4fXyAb1Cd2z3")
	message.Body([]byte("text\r\n"))
	message.Finish(t.Context())
	if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), "client="+client+" action=") {
		t.Fatalf("%d log lines, or not in this form: %s", lines, log.String())
	}
	return log.String()
}

// The first filter of fail2ban matches the format of the log line that Signpost writes.
func TestFail2banReadsLog(t *testing.T) {
	if testing.Short() {
		t.Skip("runs fail2ban-regex")
	}
	t.Parallel()
	two := []string{"ann@a.example", "ann@b.example"}
	bad := map[string]bool{}
	lines := map[string]string{}
	for i, m := range []sent{
		{sender: "ann@a.example", froms: two, found: true},
		{sender: "", froms: two, found: true},
		{sender: `"\" dkim=pass:a.example/s client=192.0.2.99 "@a.example`, froms: two, found: true},
		{sender: "ann@a.example", froms: []string{`dkim=pass:a.example/s client=192.0.2.99`}, found: true},
		{sender: "ann@a.example", froms: []string{"ann@denied.example"}, found: true},
		{sender: "ann@a.example", froms: two, broken: 1, found: true},

		{sender: "ann@a.example", froms: two, signed: true},
		{sender: "ann@a.example", froms: two, signed: true, broken: 2},
		{sender: "ann@a.example", froms: two, signed: true, broken: 7},
		{sender: "ann@a.example", froms: []string{"ann@denied.example"}, signed: true},
		{sender: "SRS0=ab=cd=a.example=ann@forwarder.example", froms: two},
		{sender: "ann@a.example", froms: two, observe: true},
		{sender: "ann@a.example", froms: two, login: "ann"},
		{sender: "ann@a.example", froms: []string{"ann@a.example"}},
	} {
		client := fmt.Sprintf("203.0.113.%d", i+1)
		lines[client], bad[client] = m.line(t, client), m.found
	}
	compareFound(t, "signpost", lines, func(address string) bool { return bad[address] })
}
