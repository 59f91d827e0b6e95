package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/config"
	"signpost/internal/daemon"
	"signpost/internal/testmilter"
	"signpost/keys"
)

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// measured starts a daemon that signs for example.org and exports metrics. It returns the URL of the metrics.
func measured(t *testing.T) (d *testDaemon, url string) {
	t.Helper()
	d = startDaemon(t, "example.com. 60 IN TXT \"v=spf1 -all\"\n", "[metrics]\nlisten = \"127.0.0.1:0\"\n[cluster]\ndatabase = \"mysql://signpost@db.example.org/signpost\"\n[reports.send]\nenabled = true\norg_name = \"Example\"\nfrom = \"dmarc@reports.example.org\"\n[reports.receive]\naddresses = [\"rua@example.org\"]\n")
	status := filepath.Join(filepath.Dir(d.socket), "cluster", control.StatusName)
	if err := errors.Join(os.MkdirAll(filepath.Dir(status), 0o700), os.WriteFile(status, []byte(`{"host": "a", "hosts": [{"name": "a"}], "messages": {}, "reports": {}}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	at := regexp.MustCompile(`metrics server started" listen=(\S+)`).FindStringSubmatch(d.log.String())
	if at == nil {
		t.Fatal(d.log)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	store := keys.Store{State: filepath.Dir(d.socket), Dir: filepath.Dir(d.socket), Now: time.Now}
	if _, err := store.Import(keys.Foreign{Domain: "example.org", Selector: "key", Source: file}, "manual"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Activate("example.org", "key"); err != nil {
		t.Fatal(err)
	}
	d.until("the key is read", func() bool { return strings.Contains(d.log.String(), "selector=key") })
	return d, "http://" + at[1]
}

// ownNames returns the names of Signpost's metrics in a text. The names of the parts of a histogram count as one name.
func ownNames(text, pattern string) []string {
	found := map[string]bool{}
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found[regexp.MustCompile(`_seconds_(bucket|sum|count)$`).ReplaceAllString(m[1], "_seconds")] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// After it has signed, verified and rejected mail, the daemon exports the expected counts. It exports each metric that is named in the
// alerts, the dashboard or the manual. The manual names each exported metric.
func TestMetrics(t *testing.T) {
	d, url := measured(t)
	defer d.stop()
	play := func(client, want string, header ...string) {
		t.Helper()
		m := testmilter.Dial(t, "unix", d.socket)
		m.ConnectFrom(netip.MustParseAddr(client), "helo.example")
		if replies := strings.Join(m.Message("ann@example.com", header...), "\n"); !strings.Contains(replies, want) {
			t.Errorf("%q", replies)
		}
		m.Close()
	}
	play("127.0.0.1", "DKIM-Signature", "From\x00 ann@example.org\x00")
	play("192.0.2.1", "spf=fail", "From\x00 ann@example.com\x00")
	play("192.0.2.1", "550", "From\x00 ann@example.com\x00", "From\x00 bob@example.com\x00")
	play("127.0.0.1", "550", "Subject\x00 no author\x00")

	_, scrape := get(t, url+"/metrics")
	if strings.Contains(scrape, "\nsignpost_reports{") {
		t.Error("there are metrics of reports before the first run of signpost reports send")
	}
	reports := filepath.Join(filepath.Dir(d.socket), "reports", "status")
	if err := os.MkdirAll(reports, 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(reports, "status.json"), `{"last_run":"2026-12-01T06:00:00Z","ok":true,"waiting":1,"sent":22,"given_up":3,"suppressed":4}`)
	put(t, filepath.Join(reports, "received.json"), `{"last_run":"2026-12-01T06:00:00Z","ok":false,"read":{"stored":7,"duplicate":1},"stored":{"aggregate":6,"tls":1},"bytes":4096,"waiting":2,
		"day":"2026-11-29T00:00:00Z","passed":900,"failed":50,"evaluated":"2026-12-01T06:00:00Z","trusted_reporters":3,"alarms":[{"code":"tls_failure"}],"omitted":1,"alarms_by_code":{"tls_failure":2}}`)
	_, scrape = get(t, url+"/metrics")
	for _, line := range []string{
		`signpost_reports{state="waiting"} 1`,
		`signpost_reports{state="sent"} 22`,
		`signpost_reports{state="given_up"} 3`,
		`signpost_reports_suppressed_addresses 4`,
		`signpost_reports_success 1`,
		`signpost_reports_run_timestamp_seconds 1.7961048e+09`,
		`signpost_report_bounces_total{result="kept"} 0`,
		`signpost_reports_read_total{result="stored"} 7`,
		`signpost_reports_read_total{result="over_limit"} 0`,
		`signpost_reports_stored{kind="tls"} 1`,
		`signpost_reports_stored_bytes 4096`,
		`signpost_reports_unread 2`,
		`signpost_reported_messages{result="pass"} 900`,
		`signpost_reported_messages{result="fail"} 50`,
		`signpost_reports_trusted_reporters 3`,
		`signpost_report_alarms{code="tls_failure"} 2`,
		`signpost_report_alarms{code="unknown_source"} 0`,
		`signpost_reports_read_success 0`,
		`signpost_messages_total{action="sign",role="sign"} 1`,
		`signpost_messages_total{action="accept",role="verify"} 1`,
		`signpost_messages_total{action="reject",role="verify"} 1`,
		`signpost_messages_total{action="reject",role="sign"} 1`,
		`signpost_results_total{method="spf",result="fail"} 2`,
		`signpost_results_total{method="dkim",result="none"} 2`,
		`signpost_results_total{method="dmarc",result="none"} 2`,
		`signpost_results_total{method="iprev",result="pass"} 2`,
		`signpost_dns_queries_total{outcome="found",type="TXT"} 1`,
		`signpost_sign_seconds_count 1`,
		`signpost_verify_seconds_count 2`,
		`signpost_keys{domain="example.org",state="active"} 1`,
		`signpost_domain_signs{domain="example.org"} 1`,
		`signpost_keys_readable 1`,
		`signpost_key_audit_mismatches{domain="example.org"} 0`,
		`signpost_reload_success 1`,
		`signpost_panics_total 0`,
		`signpost_observe_mode 0`,
	} {
		if !strings.Contains(scrape, "\n"+line+"\n") {
			t.Errorf("not in the scrape: %s", line)
		}
	}
	if strings.Contains(scrape, "example.com") {
		t.Error("the domain of an inbound message is in the scrape")
	}
	shown := ownNames(scrape, `(?m)^(signpost_\w+)`)
	for _, file := range []string{"prometheus-rules.yml", "grafana-dashboard.json"} {
		text, err := os.ReadFile(filepath.Join("../../dist", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range ownNames(string(text), `\b(signpost_\w+)`) {
			if !slices.Contains(shown, name) {
				t.Errorf("%s: no such metric: %s", file, name)
			}
		}
	}
	manual, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	if documented := ownNames(string(manual), "(?m)^\\| `(signpost_\\w+)` \\|"); !slices.Equal(documented, shown) {
		t.Errorf("docs/metrics.md has\n%q, and the daemon shows\n%q", documented, shown)
	}
}

// A monitor queries these addresses.
func TestHealth(t *testing.T) {
	d, url := measured(t)
	stopped := false
	defer func() {
		if !stopped {
			d.stop()
		}
	}()
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, body := get(t, url+path); status != 200 || body != "ok\n" {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	r, err := http.Post(url+"/metrics", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.StatusCode)
	}
	if err := os.Remove(d.socket); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, body := get(t, url+path); status != 503 || !strings.Contains(body, "does not accept") {
			t.Errorf("%s without a socket: %d %q", path, status, body)
		}
	}
	// A second daemon cannot use the same address, and reports an error.
	conf, err := config.Parse("config", []byte("listen = [\"unix:"+d.socket+"2\"]\n[metrics]\nlisten = \""+strings.TrimPrefix(url, "http://")+"\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Run(t.Context(), daemon.Options{Config: conf, Stderr: io.Discard}); err == nil || !strings.Contains(err.Error(), "metrics.listen") {
		t.Errorf("two at one address: %v", err)
	}
	stopped = true
	d.stop()
	if _, err := http.Get(url + "/healthz"); err == nil {
		t.Error("the metrics are still served after the daemon stopped")
	}
}

// Prometheus reads the alert rules. Each alert fires in its situation, and only then.
func TestAlertRules(t *testing.T) {
	if testing.Short() {
		t.Skip("runs promtool")
	}
	for _, args := range [][]string{{"check", "rules", "prometheus-rules.yml"}, {"test", "rules", "prometheus-rules_test.yml"}} {
		c := exec.Command("promtool", args...)
		c.Dir = "../../dist"
		if out, err := c.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("SUCCESS")) {
			t.Errorf("promtool %s (scripts/setup installs it): %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
