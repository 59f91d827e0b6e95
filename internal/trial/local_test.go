package trial

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signpost/internal/decision"
	"signpost/internal/dmarc"
	"signpost/internal/doctor"
)

const masterCF = "smtp inet n - y - - smtpd\n10025 inet n - y - - smtpd\npickup unix n - y 60 1 pickup\ncleanup unix n - y - 0 cleanup\nlocal unix - n n - - local\nvirtual unix - n n - - virtual\n" +
	"lmtp unix - - y - - lmtp\nsmtp unix - - y - - smtp\nerror unix - - y - - error\ndovecot unix - n n - - pipe\nscan unix - - n - 2 smtp\n"

// here returns an error unless forged mail for an address is sent.
func here(ctx context.Context, main, tables map[string]string, to string) error {
	s := site(main, tables)
	r, err := s.routes(ctx, service{address: "127.0.0.1:25"})
	if err != nil {
		return err
	}
	return s.local(ctx, r, to)
}

// localSettings are the settings of a host that delivers mail for example.org and mx.example.org.
func localSettings() map[string]string {
	return map[string]string{"mydestination": "mx.example.org, localhost", "virtual_mailbox_domains": "example.org hash:domains", "virtual_alias_maps": "hash:virtual", "alias_maps": "hash:aliases",
		"transport_maps": "hash:transport", "myorigin": "mx.example.org", "recipient_delimiter": "+", "local_transport": "local:mx.example.org", "virtual_transport": "lmtp:unix:private/dovecot-lmtp",
		"append_dot_mydomain": "no", "hopcount_limit": "50", "forward_path": "$home/.forward${recipient_delimiter}${extension}, $home/.forward", "master.cf": masterCF}
}

// Forged mail is sent only to an address whose mail stays on this host, whatever Postfix's tables contain.
func TestLocal(t *testing.T) {
	dir := t.TempDir()
	pcre, quiet := filepath.Join(dir, "checks"), filepath.Join(dir, "quiet")
	for file, text := range map[string]string{pcre: "# a comment\n/#/ redirect out@gmail.example\n", quiet: "# FILTER smtp:[192.0.2.1]\n  # REDIRECT x@gmail.example\n/x/ REJECT\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tables := map[string]string{
		"hash:domains example.com": "x", "hash:virtual out@example.org": "ann@gmail.example", "hash:virtual far@example.net": "ann@example.org", "hash:virtual copy@example.org": "copy@example.org, ann@gmail.example",
		"hash:virtual keep@example.org": "keep@example.org", "hash:virtual a@example.org": "b@example.org", "hash:virtual b@example.org": "a@example.org", "hash:virtual @example.com": "out@example.org",
		"hash:virtual same@example.net": "same@example.net", "hash:aliases postmaster": "root", "hash:aliases list": "|/usr/lib/mailman post", "hash:aliases file": "/var/mail/file", "hash:aliases many": ":include:/etc/many",
		"hash:aliases gone": "ann@gmail.example", "hash:aliases self": `\self`, "hash:transport moved@example.org": "smtp:[192.0.2.1]", "hash:transport lmtp@example.org": "lmtp:inet:127.0.0.1:24",
		"hash:aliases ext+x": "ann@gmail.example", "hash:aliases percent": "ann%gmail.example", "hash:aliases bang": "gmail.example!ann", "hash:aliases twice": "ann@gmail.example@mx.example.org",
		"hash:virtual prop@example.org": "b@mx.example.org", "hash:virtual b+y@mx.example.org": "ann@gmail.example", "hash:virtual @alias.example": "@example.org", "hash:virtual dup@example.org": "e+x@mx.example.org", "hash:virtual e+x+x@mx.example.org": "ann@gmail.example",
		"hash:aliases chain": "mapped", "hash:aliases mapped": "ann@gmail.example", "hash:virtual mapped@mx.example.org": "ann@example.org",
		"hash:transport alias@example.org": "local:", "hash:aliases alias": "ann@gmail.example", "hash:transport sub@example.org": ":[192.0.2.1]", "hash:transport two@example.org": "lmtp:unix:x, [192.0.2.1]",
		"hash:transport pipe@example.org": "dovecot:127.0.0.1:24", "hash:transport mta@example.org": "smtp:[127.0.0.1]:2525",
		"hash:bare ann": "keep@example.org", "hash:bare keep@example.org": "keep@example.org", "hash:bare @example.org": "ann@gmail.example", "pcre:case OUT@example.org": "ann@gmail.example",
		"pcre:t example.org": "virtual:", "hash:t *": "smtp:[192.0.2.1]", "hash:star *": "smtp:[192.0.2.1]", "hash:star example.org": "lmtp:unix:private/dovecot-lmtp", "hash:canonical ann@example.org": "safe@example.org", "hash:local ann@mx.example.org": "x",
	}
	for _, c := range []struct {
		to, want string // want is empty if the mail stays here
		set      map[string]string
	}{
		{"ann@example.org", "", nil}, {"ANN@EXAMPLE.ORG", "", nil}, {"far@example.net", "", nil}, {"keep@example.org", "", nil}, {"a@example.org", "", nil},
		{"postmaster@mx.example.org", "", nil}, {"file@mx.example.org", "", nil}, {"self@mx.example.org", "", nil}, {"lmtp@example.org", "mailing list", nil},
		{"ann@example.net", "neither in mydestination", nil}, {"same@example.net", "neither in mydestination", nil}, {"ann@sub.example.org", "neither in mydestination", nil},
		{"out@example.org", "ann@gmail.example", nil}, {"out+x@example.org", "ann@gmail.example", nil}, {"copy@example.org", "ann@gmail.example", nil}, {"any@example.com", "ann@gmail.example", nil},
		{"list@mx.example.org", "|/usr/lib/mailman", nil}, {"many@mx.example.org", ":include:", nil}, {"gone@mx.example.org", "ann@gmail.example", nil}, {"gone+x@mx.example.org", "ann@gmail.example", nil},
		{"moved@example.org", "smtp:[192.0.2.1]", nil},
		// Extensions: an alias may be for an address with one, and Postfix propagates it.
		{"ext+x@mx.example.org", "ann@gmail.example", nil}, {"prop+y@example.org", "ann@gmail.example", nil}, {"dup+x@example.org", "ann@gmail.example", nil}, {"dup+y@example.org", "", nil},
		// Postfix keeps the local part, or rewrites % and !, or removes its own domain.
		{"out@alias.example", "ann@gmail.example", nil}, {"percent@mx.example.org", "may rewrite", nil}, {"bang@mx.example.org", "may rewrite", nil}, {"twice@mx.example.org", "may rewrite", nil}, {"ann%gmail.example@mx.example.org", "may rewrite", nil},
		// local(8) does not look up its own addresses in virtual_alias_maps, and runs for any address with its transport.
		{"chain@mx.example.org", "ann@gmail.example", nil}, {"alias@example.org", "ann@gmail.example", nil}, {"gone@example.org", "ann@gmail.example", map[string]string{"mydestination": "example.org"}},
		{"gone@example.org", "ann@gmail.example", map[string]string{"virtual_transport": "local"}},
		{"sub@example.org", "leads to another host", nil}, {"two@example.org", "leads to another host", nil}, {"pipe@example.org", "a program", nil}, {"mta@example.org", "leads to another host", nil},
		// Postfix looks up a local part without a domain only for its own domains, and a domain not in a table of patterns.
		{"ann@example.org", "ann@gmail.example", map[string]string{"virtual_alias_maps": "hash:bare"}}, {"OUT@example.org", "ann@gmail.example", map[string]string{"virtual_alias_maps": "pcre:case"}},
		{"ann@example.org", "smtp:[192.0.2.1]", map[string]string{"transport_maps": "pcre:t, hash:t"}}, {"ann@example.org", "", map[string]string{"transport_maps": "hash:star"}},
		{"ann@example.org", "smtp:[192.0.2.1]", map[string]string{"transport_maps": "hash:t"}},
		{"ann@example.org", "neither in mydestination", map[string]string{"virtual_mailbox_domains": "!example.org, static:all"}}, {"ann@example.org", "does not read it", map[string]string{"mydestination": "/etc/domains"}},
		{"far@example.net", "neither in mydestination", map[string]string{"receive_override_options": "no_address_mappings"}}, {"far@example.net", "neither in mydestination", map[string]string{"canonical_maps": "hash:virtual", "virtual_alias_maps": ""}},
		{"root@localhost", "append_dot_mydomain", map[string]string{"append_dot_mydomain": "yes"}}, {"root@localhost", "", nil}, {"ann@example.org", "masquerade_classes", map[string]string{"masquerade_classes": "envelope_recipient"}},
		{"ann@example.org", "always_bcc", map[string]string{"always_bcc": "x@gmail.example"}}, {"ann@example.org", "recipient_bcc_maps", map[string]string{"recipient_bcc_maps": "hash:bcc"}},
		{"ann@example.org", "smtp:mail.example.net", map[string]string{"virtual_transport": "smtp:mail.example.net"}}, {"ann@example.org", "content_filter", map[string]string{"content_filter": "smtp:[192.0.2.9]:10024"}},
		{"ann@example.org", "", map[string]string{"content_filter": "smtp:[127.0.0.1]:10024"}}, {"ann@mx.example.org", "mailbox_command", map[string]string{"mailbox_command": "procmail"}},
		{"ann@example.org", "leads to another host", map[string]string{"content_filter": "smtp:localhost:10024"}}, {"ann@example.org", "a program", map[string]string{"content_filter": "dovecot:[127.0.0.1]"}},
		{"ann@example.org", "smtp_fallback_relay", map[string]string{"content_filter": "scan:[127.0.0.1]:10024", "smtp_fallback_relay": "[192.0.2.1]"}},
		{"ann@example.org", "", map[string]string{"content_filter": "scan:[127.0.0.1]:10024", "smtp_fallback_relay": "[192.0.2.1]", "overrides": "scan/unix/smtp_fallback_relay =\n"}},
		{"ann@example.org", "lmtp_fallback_relay", map[string]string{"virtual_transport": "lmtp:inet:127.0.0.1:24", "lmtp_fallback_relay": "[192.0.2.1]"}}, {"ann@example.org", "", map[string]string{"virtual_transport": "lmtp:inet:127.0.0.1:24"}},
		{"ann@example.org", "smtpd_proxy_filter", map[string]string{"smtpd_proxy_filter": "127.0.0.1:10024"}}, {"ann@example.org", "notify_classes", map[string]string{"notify_classes": "resource, 2bounce"}},
		{"ann@mx.example.org", "forward_path", map[string]string{"forward_path": "/var/forward/$user"}},
		// master.cf
		{"ann@example.org", "smtp/inet -o always_bcc", map[string]string{"overrides": "smtp/inet/always_bcc = x@gmail.example\n"}}, {"ann@example.org", "content_filter", map[string]string{"overrides": "smtp/inet/content_filter = smtp:[192.0.2.1]\n"}},
		{"ann@example.org", "cleanup/unix -o virtual_alias_maps", map[string]string{"overrides": "cleanup/unix/virtual_alias_maps =\n"}}, {"ann@example.org", "", map[string]string{"overrides": "10025/inet/always_bcc = x@gmail.example\npickup/unix/content_filter = smtp:\n"}},
		{"ann@example.org", "contains REDIRECT", map[string]string{"overrides": "smtp/inet/smtpd_data_restrictions = check_client_access static:{REDIRECT x@gmail.example}\n"}},
		// Tables of actions
		{"ann@example.org", "contains redirect", map[string]string{"header_checks": "pcre:" + pcre}}, {"ann@example.org", "", map[string]string{"header_checks": "regexp:" + quiet, "smtpd_recipient_restrictions": "check_policy_service unix:private/policy, reject_unauth_destination, pcre:" + quiet}},
		{"ann@example.org", "contains FILTER", map[string]string{"smtpd_recipient_restrictions": "check_client_access { inline:{ 192.0.2.1=FILTER smtp:x } }"}}, {"ann@example.org", "cannot list", map[string]string{"smtpd_recipient_restrictions": "class", "smtpd_restriction_classes": "class", "class": "check_sender_access mysql:/x.cf"}},
		{"ann@example.org", "no answer", map[string]string{"canonical_maps": "broken:t"}}, {"ann@example.org", "smtp:", map[string]string{"virtual_transport": "smtp:"}},
	} {
		main := localSettings()
		maps.Copy(main, c.set)
		if err := here(t.Context(), main, tables, c.to); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: %v, want %q", c.to, c.set, err, c.want)
		}
	}
}

// A .forward file can send mail to any address, also one for an extension. Users are those that getent(1) knows, by their names.
func TestForwardFiles(t *testing.T) {
	for name, good := range map[string]bool{"forward": true, ".forward": false, ".forward+x": false} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := noForwardIn(dir, "ann@example.org"); (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, exists := range map[string]bool{"root": true, "0": false, "no-such-user": false} {
		if dir, err := home(t.Context(), name); err != nil || (dir != "") != exists {
			t.Errorf("%s: %q %v", name, dir, err)
		}
	}
}

// A message that the journal cannot confirm is not reported as missing, and a text of several lines is one finding.
func TestUnreadableJournal(t *testing.T) {
	s := site(map[string]string{}, nil)
	s.Find = func(context.Context, string) ([]decision.Record, error) {
		return nil, errors.New("permission denied")
	}
	m := newMessage(bySubmission, Options{From: "a@example.org", To: "b@example.org"})
	s.await(t.Context(), m, mailLog{file: "/dev/null"})
	s.processed(m)
	m.add(stepQueue, doctor.Finding{What: "one\ngreen  two"})
	if m.Findings[0].Level != doctor.Yellow || !strings.Contains(m.Findings[0].What, "the journal cannot be read") || m.Findings[1].What != "one green  two" {
		t.Errorf("%+v", m.Findings)
	}
}

// A policy that is not known is not reported as no policy.
func TestUnknownPolicy(t *testing.T) {
	for status, want := range map[dmarc.Status]string{dmarc.TempError: "is not known", dmarc.None: "has no policy"} {
		s := site(nil, nil)
		s.DMARC = func(context.Context, string, []string) dmarc.Result { return dmarc.Result{Status: status} }
		all, p := s.forgeries(t.Context(), "a@example.org")
		var r Report
		r.noPolicy("a@example.org", p)
		if len(all) != 1 || len(r.Other) != 1 || !strings.Contains(r.Other[0].What, want) {
			t.Errorf("%s: %+v %+v", status, all, r.Other)
		}
	}
}
