package testmta

import (
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// masterCF is Debian's master.cf without chroot (5th column) and without the transports for other software. The placeholders are for three
// ports.
const masterCF = `
%s inet n - n - - smtpd
%s inet n - n - - smtpd
  -o milter_macro_daemon_name=ORIGINATING
%s inet n - n - - smtpd
  -o content_filter=
pickup     unix n - n 60 1 pickup
cleanup    unix n - n - 0 cleanup
qmgr       unix n - n 300 1 qmgr
rewrite    unix - - n - - trivial-rewrite
bounce     unix - - n - 0 bounce
defer      unix - - n - 0 bounce
trace      unix - - n - 0 bounce
verify     unix - - n - 1 verify
flush      unix n - n 1000? 0 flush
proxymap   unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp       unix - - n - - smtp
relay      unix - - n - - smtp
showq      unix n - n - - showq
error      unix - - n - - error
retry      unix - - n - - error
discard    unix - - n - - discard
local      unix - n n - - local
virtual    unix - n n - - virtual
lmtp       unix - - n - - lmtp
anvil      unix - - n - 1 anvil
scache     unix - - n - 1 scache
tlsmgr     unix - - n 1000? 1 tlsmgr
postlog    unix-dgram n - n - 1 postlogd
`

// mailUser is the user ID of "nobody", who owns the mailbox. virtual(8) needs a number.
const mailUser = 65534

// mainCF returns the settings of main.cf. Delays and limits that only slow down a test are disabled.
func (m *MTA) mainCF(o Options) map[string]string {
	name := "mx.example.org"
	if len(o.Domains) > 0 {
		name = "mx." + o.Domains[0]
	}
	c := map[string]string{
		"compatibility_level":   "3.6",
		"queue_directory":       m.queue(""),
		"data_directory":        filepath.Join(m.Dir, "data"),
		"maillog_file":          m.logFile(),
		"maillog_file_prefixes": m.Dir,
		"mail_owner":            "postfix",
		"setgid_group":          "postdrop",

		"myhostname":      name,
		"mydomain":        strings.TrimPrefix(name, "mx."),
		"mydestination":   "",
		"mynetworks":      "127.0.0.0/8",
		"inet_interfaces": "127.0.0.1",
		"inet_protocols":  "all",
		"alias_maps":      "",
		"alias_database":  "",
		"biff":            "no",
		"smtputf8_enable": "yes",

		"virtual_mailbox_domains": strings.Join(o.Domains, " "),
		"virtual_mailbox_base":    filepath.Join(m.Dir, "mail"),
		"virtual_mailbox_maps":    "static:box/",
		"virtual_uid_maps":        "static:" + strconv.Itoa(mailUser),
		"virtual_gid_maps":        "static:" + strconv.Itoa(mailUser),
		"virtual_minimum_uid":     "1000",
		"virtual_mailbox_limit":   "0",
		"mailbox_size_limit":      "0",
		"message_size_limit":      "104857600",
		"queue_minfree":           "0",

		"transport_maps":                  "texthash:" + filepath.Join(m.etc(), "transport"),
		"smtpd_reject_unlisted_recipient": "no",
		"default_transport":               "error:5.4.4 this Postfix sends no mail to other hosts",
		"smtp_dns_support_level":          "disabled",

		"smtpd_relay_restrictions":       "permit_mynetworks permit_sasl_authenticated reject_unauth_destination",
		"smtpd_authorized_xclient_hosts": "127.0.0.1",
		"smtpd_sasl_auth_enable":         "yes",
		"smtpd_sasl_type":                "dovecot",
		"smtpd_sasl_path":                "inet:" + m.auth.addr(),

		"smtpd_milters":         o.Milters,
		"non_smtpd_milters":     o.NonSMTPDMilters,
		"milter_default_action": "tempfail",

		"queue_run_delay":      "2s",
		"minimal_backoff_time": "2s",
		"maximal_backoff_time": "4s",
		"transport_retry_time": "2s",
		"in_flow_delay":        "0s",

		"smtpd_error_sleep_time":              "0s",
		"smtpd_soft_error_limit":              "1000",
		"smtpd_hard_error_limit":              "1000",
		"smtpd_client_connection_count_limit": "0",
	}
	maps.Copy(c, o.MainCF)
	return c
}

// layOut creates the directories with the owners and modes that "postfix set-permissions" sets. That command would also check the
// files of the system.
func (m *MTA) layOut(o Options) error {
	mail, err := lookUp("postfix")
	if err != nil {
		return err
	}
	drop, err := lookUpGroup("postdrop")
	if err != nil {
		return err
	}
	type dir struct {
		name     string
		uid, gid int
		mode     os.FileMode
	}
	dirs := []dir{
		{"", 0, 0, 0o755}, {"etc", 0, 0, 0o755}, {"queue", 0, 0, 0o755}, {"queue/pid", 0, 0, 0o755},
		{"data", mail, 0, 0o700}, {"mail", mailUser, mailUser, 0o755},
		{"queue/maildrop", mail, drop, 0o730}, {"queue/public", mail, drop, 0o710},
	}
	for name := range strings.FieldsSeq("active bounce corrupt defer deferred flush hold incoming private saved trace") {
		dirs = append(dirs, dir{"queue/" + name, mail, 0, 0o700})
	}
	for _, d := range dirs {
		path := filepath.Join(m.Dir, d.name)
		if err := os.MkdirAll(path, d.mode); err != nil {
			return err
		}
		if err := os.Chown(path, d.uid, d.gid); err != nil {
			return err
		}
		if err := os.Chmod(path, d.mode); err != nil { // the umask may have removed bits
			return err
		}
	}

	var main, transport strings.Builder
	for _, key := range slices.Sorted(maps.Keys(m.mainCF(o))) {
		fmt.Fprintf(&main, "%s = %s\n", key, m.mainCF(o)[key])
	}
	for _, address := range o.Unknown {
		fmt.Fprintf(&transport, "%s error:5.1.1 mailbox unknown\n", address)
	}
	for name, text := range map[string]string{
		"main.cf":   main.String(),
		"master.cf": fmt.Sprintf(masterCF, m.SMTP, m.Submission, m.Reinject) + o.MasterCF,
		"transport": transport.String(),
	} {
		if err := os.WriteFile(filepath.Join(m.etc(), name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func lookUp(name string) (int, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(u.Uid)
}

func lookUpGroup(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}
