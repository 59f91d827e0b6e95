package soak

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"signpost/internal/testbind"
)

const (
	tsigSecret = testbind.Secret
	noKey      = "nokey.example" // a domain of both hosts that has no key
)

// world has two hosts that are a cluster, with their name servers and databases.
type world struct {
	*testing.T
	dir      string
	programs string // the directory of the installed programs
	upgrades string // the programs of another build
	sender   string // the program that sends reports at the end
	dns      nameServers
	db       databases
	hosts    []*host
	post     post
	keys     changes
}

// reporter is the domain from which the hosts send reports.
func (w *world) reporter() string { return "reports." + w.hosts[0].Domains[0] }

// ours returns the domains of all hosts.
func (w *world) ours() (all []string) {
	for _, h := range w.hosts {
		all = append(all, h.Domains...)
	}
	return all
}

// newWorld starts everything. zone are the records of other sites.
func newWorld(t *testing.T, zone string) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "signpost-soak")
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("everything is kept in " + dir)
			return
		}
		os.RemoveAll(dir)
	})
	must(t, os.Chmod(dir, 0o755))
	w := &world{T: t, dir: dir, programs: filepath.Join(dir, "bin"), upgrades: filepath.Join(dir, "bin2")}
	w.build(w.programs)
	w.build(w.upgrades, "-ldflags=-s -w") // other files, the same program
	w.sender = w.buildSender()
	for i, name := range hostNames() {
		w.hosts = append(w.hosts, w.newHost(name, fmt.Sprintf("127.0.0.%d", 11+i)))
	}
	w.startDNS(zone+w.rootRecords(), w.hostZones())
	w.startDatabases()
	for _, h := range w.hosts {
		w.configure(h)
	}
	w.prepareKeys()
	for _, h := range w.hosts {
		w.joinCluster(h)
		w.startHost(h)
	}
	for i, h := range w.hosts {
		other := w.hosts[1-i]
		var b strings.Builder
		fmt.Fprintf(&b, "%s discard:\n", w.reporter())
		for _, domain := range other.Domains {
			fmt.Fprintf(&b, "%s smtp:[127.0.0.1]:%s\n", domain, other.mta.SMTP[strings.LastIndex(other.mta.SMTP, ":")+1:])
		}
		must(t, os.WriteFile(filepath.Join(h.mta.Dir, "etc", "transport"), []byte(b.String()), 0o644))
	}
	return w
}

func hostNames() []string { return []string{"a", "b"} }

func (w *world) build(dir string, flags ...string) {
	w.Helper()
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath"}, flags...), "-o", dir+"/", "signpost/cmd/...")...)
	cmd.Env, cmd.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	must(w.T, cmd.Run())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rootRecords are the records of the root zone about the hosts.
func (w *world) rootRecords() string {
	var b strings.Builder
	for _, h := range w.hosts {
		fmt.Fprintf(&b, "%s. IN A %s\n", h.ID, h.source)
	}
	return b.String()
}

// hostZones returns the zones of the hosts' domains, without keys. The domains have no rua, because the hosts would send reports about each other, which
// the traffic does not count.
func (w *world) hostZones() map[string]string {
	zones := map[string]string{}
	for _, h := range w.hosts {
		for _, domain := range h.Domains {
			zones[domain+"."] = fmt.Sprintf("%s. IN TXT \"v=spf1 ip4:%s -all\"\n_dmarc.%[1]s. IN TXT \"v=DMARC1; p=reject\"\n%[1]s. IN MX 10 %[3]s.\n",
				domain, h.source, h.ID)
		}
	}
	reporter := w.reporter()
	var mx strings.Builder
	spf := "v=spf1"
	for _, h := range w.hosts {
		spf += " ip4:" + h.source
		fmt.Fprintf(&mx, "%s. IN MX 10 %s.\n", reporter, h.ID)
	}
	zones[w.hosts[0].Domains[0]+"."] += fmt.Sprintf("%s. IN TXT \"%s -all\"\n_dmarc.%[1]s. IN TXT \"v=DMARC1; p=reject\"\n%[3]s", reporter, spf, mx.String())
	return zones
}
