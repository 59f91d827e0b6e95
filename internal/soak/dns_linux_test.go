package soak

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"signpost/internal/testbind"
)

// The addresses of the name servers. All have port 53, because Signpost queries the authoritative servers there.
const (
	primaryAddr   = "127.0.0.53"
	secondaryAddr = "127.0.0.54" // it lags behind the primary by up to lag
	resolverAddr  = "127.0.0.55" // unbound
	proxyAddr     = "127.0.0.56" // forwards to unbound: the server in Signpost's configuration
)

// lag is how often the secondary transfers the zones.
const lag = 20 * time.Second

// The records are cached for a short time only, so that a run sees many changes.
const recordTTL = 5

// nameServers are those of the world.
type nameServers struct {
	primary, secondary *testbind.Server
	unbound            *process
	proxy              *dnsProxy
}

// startDNS starts the name servers. root are the records of the root zone, and zones the further records of each zone of the hosts.
func (w *world) startDNS(root string, zones map[string]string) {
	w.Helper()
	all := map[string]string{}
	head := func(zone string) string {
		return fmt.Sprintf("$TTL %d\n%s IN SOA ns1.dns. hostmaster.dns. 1 %d 2 600 2\n%[2]s IN NS ns1.dns.\n%[2]s IN NS ns2.dns.\n", recordTTL, zone, int(lag.Seconds()))
	}
	root = head(".") + "ns1.dns. IN A " + primaryAddr + "\nns2.dns. IN A " + secondaryAddr + "\n" + root
	for zone, records := range zones {
		root += zone + " IN NS ns1.dns.\n" + zone + " IN NS ns2.dns.\n"
		all[zone] = head(zone) + records
	}
	all["."] = root
	copies := map[string]string{}
	for zone := range all {
		copies[zone] = "secondary of " + primaryAddr
	}
	n := &w.dns
	var err error
	n.primary, err = testbind.StartAt(w.Context(), primaryAddr, 53, all)
	must(w.T, err)
	w.Cleanup(func() { must(w.T, n.primary.Stop()) })
	n.secondary, err = testbind.StartAt(w.Context(), secondaryAddr, 53, copies)
	must(w.T, err)
	w.Cleanup(func() { must(w.T, n.secondary.Stop()) })

	hints := filepath.Join(w.dir, "hints")
	must(w.T, os.WriteFile(hints, []byte(". 3600 IN NS ns1.dns.\n. 3600 IN NS ns2.dns.\nns1.dns. 3600 IN A "+primaryAddr+"\nns2.dns. 3600 IN A "+secondaryAddr+"\n"), 0o644))
	conf := filepath.Join(w.dir, "unbound.conf")
	must(w.T, os.WriteFile(conf, fmt.Appendf(nil, `server:
	interface: %s
	port: 53
	do-ip6: no
	username: ""
	chroot: ""
	directory: "%s"
	pidfile: ""
	use-syslog: no
	logfile: ""
	verbosity: 1
	num-threads: 1
	access-control: 127.0.0.0/8 allow
	do-not-query-localhost: no
	root-hints: "%s"
	module-config: "iterator"
	cache-max-ttl: %d
	cache-max-negative-ttl: 2
	infra-host-ttl: 5
	infra-keep-probing: yes
remote-control:
	control-enable: no
`, resolverAddr, w.dir, hints, recordTTL), 0o644))
	n.unbound = &process{name: "unbound", args: []string{"/usr/sbin/unbound", "-d", "-c", conf}, ready: "start of service", log: w.dir + "/unbound.log"}
	must(w.T, n.unbound.start())
	w.Cleanup(func() { must(w.T, n.unbound.end(syscall.SIGTERM)) })
	n.proxy, err = startProxy(net.JoinHostPort(proxyAddr, "53"), net.JoinHostPort(resolverAddr, "53"))
	must(w.T, err)
	w.Cleanup(n.proxy.close)
}

// txt returns the TXT record of a name as a receiver sees it now, or "" if there is none.
func (w *world) txt(name string) (string, error) {
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeTXT)
	var last error
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); time.Sleep(time.Second) {
		m, _, err := (&dns.Client{Net: "tcp", Timeout: 10 * time.Second}).Exchange(q, net.JoinHostPort(resolverAddr, "53"))
		if err != nil || m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
			last = fmt.Errorf("TXT %s: %v %v", name, err, m)
			continue
		}
		for _, rr := range m.Answer {
			if txt, ok := rr.(*dns.TXT); ok {
				return strings.Join(txt.Txt, ""), nil
			}
		}
		return "", nil
	}
	return "", last
}
