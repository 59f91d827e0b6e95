package soak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"signpost/internal/dkim"
	"signpost/internal/soak/judge"
	"signpost/internal/soak/traffic"
	"signpost/internal/testbind"
	"signpost/internal/testdkim"
	"signpost/internal/testmta"
	"signpost/keys"
)

// world has two hosts, each with a Postfix and the programs of Signpost, and their name server.
type world struct {
	*testing.T
	dir      string
	programs string
	dns      *testbind.Server
	hosts    []*host
	records  map[string]string // of our keys
	copied   int
	reports  int
	verify   sync.WaitGroup
	checking chan struct{} // limits the concurrent verifications
}

type host struct {
	traffic.Host
	dir    string
	source string // the address from which its Postfix sends to the other host
	config string
	mta    *testmta.MTA
	daemon *process
}

// reporter is the domain from which the host sends reports.
func (h *host) reporter() string { return "reports." + h.Domains[0] }

// report sends the reports about today.
func (w *world) report() {
	w.Helper()
	tomorrow := time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)
	for _, h := range w.hosts {
		out, err := exec.Command(w.programs+"/signpost", "reports", "send", "-c", h.config, "--now", "--date", tomorrow, "--postfix", filepath.Join(h.mta.Dir, "etc")).CombinedOutput()
		w.Logf("host %s: %s", h.Name, out)
		if err != nil {
			w.Errorf("host %s: reports send: %v", h.Name, err)
		}
	}
}

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
	w := &world{T: t, dir: dir, programs: filepath.Join(dir, "bin"), records: map[string]string{}, checking: make(chan struct{}, 1)}
	build := exec.Command("go", "build", "-trimpath", "-o", w.programs+"/", "signpost/cmd/...")
	build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	must(t, build.Run())
	for i, name := range []string{"a", "b"} {
		h := &host{Host: traffic.Host{Name: name, ID: "mx." + name + ".example", Domains: []string{name + "1.example", name + "2.example"}},
			dir: filepath.Join(dir, name), source: fmt.Sprintf("127.0.0.%d", 11+i)}
		must(t, os.MkdirAll(filepath.Join(h.dir, "state"), 0o755))
		must(t, unix.Mount("tmpfs", filepath.Join(h.dir, "state"), "tmpfs", 0, "size=512m,mode=0700")) // a fault fills it
		t.Cleanup(func() { must(t, unix.Unmount(filepath.Join(h.dir, "state"), 0)) })
		h.config = filepath.Join(h.dir, "signpost.toml")
		w.hosts = append(w.hosts, h)
		zone += fmt.Sprintf("%s. IN MX 10 %s.\n%[1]s. IN TXT \"v=spf1 ip4:%[3]s -all\"\n_dmarc.%[1]s. IN TXT \"v=DMARC1; p=reject\"\n%[2]s. IN A %[3]s\n", h.reporter(), h.ID, h.source)
		for _, domain := range h.Domains {
			zone += fmt.Sprintf("%s. IN TXT \"v=spf1 ip4:%s -all\"\n_dmarc.%[1]s. IN TXT \"v=DMARC1; p=reject\"\n%[1]s. IN MX 10 %[3]s.\n", domain, h.source, h.ID)
		}
	}
	w.startDNS(zone)
	for _, h := range w.hosts {
		w.startHost(h)
	}
	for i, h := range w.hosts {
		other := w.hosts[1-i]
		var b strings.Builder
		fmt.Fprintf(&b, "%s discard:\n", h.reporter())
		for _, domain := range other.Domains {
			fmt.Fprintf(&b, "%s smtp:[127.0.0.1]:%s\n", domain, other.mta.SMTP[strings.LastIndex(other.mta.SMTP, ":")+1:])
		}
		must(t, os.WriteFile(filepath.Join(h.mta.Dir, "etc", "transport"), []byte(b.String()), 0o644))
	}
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startDNS creates the keys of all hosts, and starts the name server with their records.
func (w *world) startDNS(zone string) {
	w.Helper()
	for _, h := range w.hosts {
		must(w.T, os.WriteFile(h.config, []byte("state_dir = \""+h.dir+"/state\"\n"), 0o644))
		must(w.T, os.MkdirAll(filepath.Join(h.dir, "state", "keys"), 0o700))
		for _, domain := range append([]string{h.reporter()}, h.Domains...) {
			out, err := exec.Command(w.programs+"/dkimkey", "-c", h.config, "add", domain, "--unsafe-activate").CombinedOutput()
			if err != nil {
				w.Fatalf("%v\n%s", err, out)
			}
		}
		set, err := keys.Store{State: filepath.Join(h.dir, "state"), Dir: filepath.Join(h.dir, "state", "keys")}.Load(nil)
		must(w.T, err)
		for _, k := range set.All() {
			w.records[keys.RecordName(k.Domain, k.Selector)] = k.Metadata.Record
			zone += keys.ZoneText(k.Domain, k.Selector, k.Metadata.Record, 5*time.Second) + "\n"
		}
	}
	var err error
	w.dns, err = testbind.Start(w.Context(), "127.0.0.1", map[string]string{".": "$TTL 5\n. IN SOA ns. hostmaster. 1 60 60 600 5\n. IN NS ns.\nns. IN A 127.0.0.1\n" + zone})
	must(w.T, err)
	w.Cleanup(func() { must(w.T, w.dns.Stop()) })
}

func (w *world) startHost(h *host) {
	w.Helper()
	socket := h.dir + "/milter.sock"
	config := fmt.Sprintf("listen = [\"unix:%s\"]\nstate_dir = \"%s/state\"\nauthserv_id = %q\ntrusted_networks = [\"127.0.0.1/32\"]\n[dns]\nservers = [%q]\n[dmarc]\nquarantine_handled = true\n[journal]\naddresses = \"full\"\n[reports.send]\nenabled = true\norg_name = %q\nfrom = \"dmarc@%s\"\n",
		socket, h.dir, h.ID, w.dns.Addr(), h.Name, h.reporter())
	must(w.T, os.WriteFile(h.config, []byte(config), 0o644))
	h.daemon = &process{name: h.Name + " serve", args: []string{w.programs + "/signpost", "serve", "-c", h.config}, ready: "signpost started", log: h.dir + "/serve.log"}
	must(w.T, h.daemon.start())
	w.Cleanup(func() { must(w.T, h.daemon.end(syscall.SIGTERM)) })
	var err error
	h.mta, err = testmta.Start(w.Context(), testmta.Options{Milters: "unix:" + socket, NonSMTPDMilters: "unix:" + socket, Domains: append(traffic.Reported(), h.Domains...), Dir: filepath.Join(h.dir, "postfix"),
		MainCF: map[string]string{"smtp_bind_address": h.source, "relay_domains": h.reporter(), "relay_recipient_maps": "static:OK",
			"internal_mail_filter_classes": "bounce", "myhostname": h.ID}})
	must(w.T, err)
	must(w.T, os.MkdirAll(filepath.Join(h.dir, "conf.d"), 0o755))
	must(w.T, os.WriteFile(filepath.Join(h.dir, "conf.d", "smtp.toml"), fmt.Appendf(nil, "[reports]\nsmtp = %q\n", h.mta.SMTP), 0o644))
	w.Cleanup(func() { must(w.T, h.mta.Stop()) })
}

// send hands a message over to its host.
func (w *world) send(ctx context.Context, m *traffic.Mail) {
	for _, h := range w.hosts {
		if h.Name == m.Host {
			addr := h.mta.SMTP
			if m.Login != "" {
				addr = h.mta.Submission
			}
			traffic.Send(ctx, addr, m)
		}
	}
}

// everySigned is how many copies with our signature there are for each one that dkimpy verifies.
const everySigned = 40

// sampleSignature verifies the signatures of some copies with dkimpy.
func (w *world) sampleSignature(j *judge.Judge, mu *sync.Mutex, c judge.Copy, raw []byte) {
	if !slices.ContainsFunc(c.Signers, func(signer string) bool {
		return slices.ContainsFunc(w.hosts, func(h *host) bool { return slices.Contains(h.Domains, signer) })
	}) {
		return
	}
	if w.copied++; w.copied%everySigned != 1 {
		return
	}
	w.verify.Go(func() {
		w.checking <- struct{}{}
		defer func() { <-w.checking }()
		found, err := testdkim.DKIMPyVerify(context.Background(), []byte(dkim.CRLF(string(raw))), w.records)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			j.Verified(c.ID, "dkimpy", err)
		}
		for _, o := range found {
			err := error(nil)
			if !o.OK {
				err = errors.New(o.Detail)
			}
			j.Verified(c.ID, o.Domain, err)
		}
	})
}

// collect reads and deletes the messages in all mailboxes. The caller holds mu.
func (w *world) collect(j *judge.Judge, mu *sync.Mutex) (n int) {
	w.Helper()
	for _, h := range w.hosts {
		dir := filepath.Join(h.mta.Dir, "mail", "box", "new")
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			w.Fatal(err)
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			info, err := e.Info()
			must(w.T, err)
			raw, err := os.ReadFile(path)
			must(w.T, err)
			must(w.T, os.Remove(path))
			if judge.IsReport(raw) {
				r, err := judge.ReadReport(raw)
				must(w.T, err)
				r.Host = h.Name
				j.Reported(r)
				w.reports++
				continue
			}
			c, err := judge.ReadCopy(h.ID, raw)
			must(w.T, err)
			c.Host, c.At = h.Name, info.ModTime()
			j.Arrived(c)
			w.sampleSignature(j, mu, c, raw)
			n++
		}
	}
	return n
}
