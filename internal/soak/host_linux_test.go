package soak

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"signpost/internal/soak/traffic"
	"signpost/internal/testmta"
)

// host is a mail server: Postfix, the daemon, the table server and signpost-cluster.
type host struct {
	traffic.Host
	dir     string
	source  string // the address from which its Postfix sends to the other host
	config  string
	mta     *testmta.MTA
	daemon  *process
	tables  *process
	cluster *process
}

// processes returns the programs of Signpost, in the order in which they are started.
func (h *host) processes() []*process { return []*process{h.tables, h.cluster, h.daemon} }

// hostOf returns what the traffic must know about a host.
func hostOf(name string) traffic.Host {
	return traffic.Host{Name: name, ID: "mx." + name + ".example", Domains: []string{name + "1.example", name + "2.example"}}
}

func (h *host) state() string { return filepath.Join(h.dir, "state") }

// newHost makes the directories of a host. Faults fill the state, which is a file system of its own, and make it read-only.
func (w *world) newHost(name, source string) *host {
	w.Helper()
	h := &host{Host: hostOf(name), dir: filepath.Join(w.dir, name), source: source}
	h.config = filepath.Join(h.dir, "signpost.toml")
	must(w.T, os.MkdirAll(h.state(), 0o755))
	must(w.T, os.MkdirAll(filepath.Join(h.dir, "conf.d"), 0o755))
	must(w.T, unix.Mount("tmpfs", h.state(), "tmpfs", 0, "size=512m,mode=0700"))
	w.Cleanup(func() { must(w.T, unix.Unmount(h.state(), unix.MNT_DETACH)) })
	return h
}

// configure writes the configuration, without the cluster.
func (w *world) configure(h *host) {
	w.Helper()
	secret := filepath.Join(h.dir, "tsig")
	must(w.T, os.WriteFile(secret, []byte(tsigSecret+"\n"), 0o600))
	var mailboxes []string
	for _, domain := range h.Domains {
		mailboxes = append(mailboxes, fmt.Sprintf("%q", traffic.Mailbox+"@"+domain))
	}
	must(w.T, os.WriteFile(h.config, fmt.Appendf(nil, `listen = ["unix:%[1]s/milter.sock"]
state_dir = "%[1]s/state"
authserv_id = %[2]q
trusted_networks = ["127.0.0.1/32"]
[dns]
servers = ["%[3]s:53"]
[dmarc]
quarantine_handled = true
[keys]
algorithms = ["rsa", "ed25519"]
rotate_every = "90d"
[publish]
method = "rfc2136"
server = "%[4]s:53"
tsig_name = "signpost"
tsig_algorithm = "hmac-sha256"
tsig_secret_file = %[5]q
ttl = "1m"
[domains]
tables = [%[6]q]
server = "unix:%[1]s/tables.sock"
[sign]
login_maps = [%[7]q]
[journal]
addresses = "full"
[reports.send]
enabled = true
org_name = "The hosts"
from = "dmarc@%[8]s"
[reports.receive]
addresses = [%[9]s]
trusted_reporters = [%[10]q]
networks = ["127.0.0.11", "127.0.0.12"]
`, h.dir, h.ID, proxyAddr, primaryAddr, secret, w.table("domains", "SELECT domain FROM domain WHERE domain = '%s' AND ours = 1"),
		w.table("logins", "SELECT login FROM login WHERE address = '%s'"), w.reporter(), strings.Join(mailboxes, ", "), traffic.Reporter), 0o644))
}

// joinCluster makes the host a member. The first host makes the tables and the site key.
func (w *world) joinCluster(h *host) {
	w.Helper()
	key := filepath.Join(h.dir, "cluster.key")
	must(w.T, os.WriteFile(filepath.Join(h.dir, "conf.d", "cluster.toml"), fmt.Appendf(nil, "[cluster]\ndatabase = %q\nname = %q\nkey_file = %q\nsocket = %q\n", w.db.url, h.Name, key, h.dir+"/cluster.sock"), 0o640))
	command := "init"
	if first := w.hosts[0]; h != first {
		data, err := os.ReadFile(filepath.Join(first.dir, "cluster.key"))
		must(w.T, err)
		must(w.T, os.WriteFile(key, data, 0o600))
		command = "join"
	}
	w.run(h, "signpost", "cluster", command)
}

// run runs an installed program of Signpost and returns its output.
func (w *world) run(h *host, program string, args ...string) string {
	w.Helper()
	out, err := w.try(h, program, args...)
	if err != nil {
		w.Fatalf("host %s: %s %q: %v\n%s", h.Name, program, args, err, out)
	}
	return out
}

// try is like run, but the program may fail. It may also be a path.
func (w *world) try(h *host, program string, args ...string) (string, error) {
	if !filepath.IsAbs(program) {
		program = filepath.Join(w.programs, program)
	}
	out, err := exec.Command(program, append(args, "-c", h.config)...).CombinedOutput()
	return string(out), err
}

// startHost starts all programs of a host.
func (w *world) startHost(h *host) {
	w.Helper()
	socket := "unix:" + h.dir + "/milter.sock"
	// Postfix reads its domains through the table server, too.
	domains := "socketmap:unix:" + h.dir + "/tables.sock:" + strings.Replace(w.table("postfix-"+h.Name, fmt.Sprintf("SELECT domain FROM domain WHERE domain = '%%s' AND host = '%s'", h.Name)), ":", "=", 1)
	signpost := filepath.Join(w.programs, "signpost")
	h.cluster = &process{name: h.Name + " cluster", args: []string{filepath.Join(w.programs, "signpost-cluster"), "run", "-c", h.config}, ready: "started", log: h.dir + "/cluster.log"}
	h.daemon = &process{name: h.Name + " serve", args: []string{signpost, "serve", "-c", h.config}, ready: "signpost started", log: h.dir + "/serve.log"}
	h.tables = &process{name: h.Name + " tables", ready: "started", log: h.dir + "/tables.log",
		args:  []string{signpost, "tables", "serve", "-c", h.config, "--postfix", filepath.Join(h.dir, "postfix", "etc"), "--answers", h.dir + "/answers"},
		after: func() error { return os.Chmod(h.dir+"/tables.sock", 0o666) }} // Postfix is not in the group of this process
	var err error
	h.mta, err = testmta.Start(w.Context(), testmta.Options{Milters: socket, NonSMTPDMilters: socket, Dir: filepath.Join(h.dir, "postfix"),
		MainCF: map[string]string{"virtual_mailbox_domains": domains, "max_use": "20" /* a process keeps failures */, "smtp_bind_address": h.source, "relay_domains": w.reporter(), "relay_recipient_maps": "static:OK",
			"internal_mail_filter_classes": "bounce", "myhostname": h.ID}})
	must(w.T, err)
	w.Cleanup(func() { must(w.T, h.mta.Stop()) })
	must(w.T, os.WriteFile(filepath.Join(h.dir, "conf.d", "smtp.toml"), fmt.Appendf(nil, "[reports]\nsmtp = %q\n", h.mta.SMTP), 0o644))
	for _, p := range h.processes() {
		must(w.T, p.start())
		w.Cleanup(func() { must(w.T, p.end(syscall.SIGTERM)) })
	}
}
