package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/testport"
)

// proxy is a web server in front of the page, with the configuration that docs/metrics.md documents. Its certificate is its own.
type proxy struct {
	name  string
	lang  string // of the example in docs/metrics.md
	start func(p *proxy, example string) *exec.Cmd
	*testing.T
	dir        string
	port, http int
}

const (
	proxyHost   = "page.example.org"
	proxyUser   = "admin"
	proxySecret = "correct horse"
)

func proxies() []proxy {
	return []proxy{{name: "caddy", lang: "caddyfile", start: startCaddy}, {name: "nginx", lang: "nginx", start: startNginx}}
}

func startCaddy(p *proxy, example string) *exec.Cmd {
	hash, err := exec.Command("caddy", "hash-password", "--plaintext", proxySecret).Output()
	p.must(err)
	example = strings.ReplaceAll(example, "HASH", strings.TrimSpace(string(hash)))
	example = strings.ReplaceAll(example, proxyHost+" {", fmt.Sprintf("%s:%d {\n\tbind 127.0.0.1", proxyHost, p.port))
	text := fmt.Sprintf("{\n\tadmin off\n\tlocal_certs\n\tskip_install_trust\n\tauto_https disable_redirects\n\thttp_port %d\n\thttps_port %d\n\tstorage file_system %s/storage\n}\n%s", p.http, p.port, p.dir, example)
	p.must(os.WriteFile(filepath.Join(p.dir, "Caddyfile"), []byte(text), 0o600))
	cmd := exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", filepath.Join(p.dir, "Caddyfile"))
	cmd.Env = append(os.Environ(), "HOME="+p.dir, "XDG_CONFIG_HOME="+p.dir, "XDG_DATA_HOME="+p.dir)
	return cmd
}

func startNginx(p *proxy, example string) *exec.Cmd {
	hash, err := exec.Command("openssl", "passwd", "-apr1", proxySecret).Output()
	p.must(err)
	p.must(os.WriteFile(filepath.Join(p.dir, "htpasswd"), []byte(proxyUser+":"+string(hash)), 0o600))
	out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN="+proxyHost, "-days", "2",
		"-keyout", filepath.Join(p.dir, "key.pem"), "-out", filepath.Join(p.dir, "cert.pem")).CombinedOutput()
	if err != nil {
		p.Fatal(err, string(out))
	}
	example = strings.NewReplacer("listen 443", fmt.Sprintf("listen 127.0.0.1:%d", p.port), "/etc/nginx/signpost.htpasswd", p.dir+"/htpasswd",
		"/etc/ssl/page.example.org.pem", p.dir+"/cert.pem", "/etc/ssl/private/page.example.org.key", p.dir+"/key.pem").Replace(example)
	var temporary strings.Builder
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temporary, "%s_temp_path %s/%[1]s;\n", name, p.dir)
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n"
	}
	text := fmt.Sprintf("%sdaemon off;\npid %s/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n%s%s}\n", user, p.dir, &temporary, example)
	p.must(os.WriteFile(filepath.Join(p.dir, "nginx.conf"), []byte(text), 0o600))
	return exec.Command("nginx", "-e", "stderr", "-p", p.dir, "-c", filepath.Join(p.dir, "nginx.conf"))
}

func (p *proxy) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal("scripts/setup matrix installs the servers: ", err)
	}
}

// example returns the text of the code block with a language in docs/metrics.md.
func (p *proxy) example() string {
	p.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "metrics.md"))
	p.must(err)
	_, block, found := strings.Cut(string(text), "```"+p.lang+"\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		p.Fatalf("docs/metrics.md has no example for %s", p.name)
	}
	return block
}

// serve starts the page at a unix socket, and the proxy in front of it.
func (p *proxy) serve(site Site) {
	p.Helper()
	socket := filepath.Join(p.dir, "page.sock")
	ln, err := net.Listen("unix", socket)
	p.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- site.Serve(ctx, ln) }()
	p.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			p.Error(err)
		}
	})
	for _, port := range []*int{&p.port, &p.http} {
		n, release, err := testport.Take("127.0.0.1")
		p.must(err)
		p.Cleanup(release)
		*port = n
	}
	cmd := p.start(p, strings.ReplaceAll(p.example(), "/run/signpost-web/page.sock", socket))
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	p.must(cmd.Start())
	p.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if p.Failed() {
			p.Log(log.String())
		}
	})
}

// get requests a path with a user and a password.
func (p *proxy) get(path, user, password, host string) (*http.Response, error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: proxyHost},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", p.port))
		}}}
	r, err := http.NewRequestWithContext(p.Context(), http.MethodGet, fmt.Sprintf("https://%s:%d%s", proxyHost, p.port, path), nil)
	p.must(err)
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	if host != "" {
		r.Host = host
	}
	w, err := client.Do(r)
	if err == nil {
		w.Body.Close()
	}
	return w, err
}

// Behind Caddy and nginx, as documented, nobody sees the page without the password. With it, the page works in a browser: a bar leads to its
// messages, and the button copies a record.
func TestBehindProxy(t *testing.T) {
	if os.Getenv("SIGNPOST_PROXIES") == "" {
		t.Skip("set SIGNPOST_PROXIES=1 to start Caddy and nginx, which scripts/setup matrix installs")
	}
	for _, p := range proxies() {
		t.Run(p.name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "page") // short enough for a unix socket
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			p.T, p.dir = t, dir
			var all []*decision.Record
			for n := range 60 {
				all = append(all, record(n))
			}
			site := newSite(t, all...)
			site.Names = []string{proxyHost}
			p.serve(site)
			for limit := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
				if _, err := p.get("/", "", "", ""); err == nil {
					break
				} else if time.Now().After(limit) {
					t.Fatal(err)
				}
			}
			for _, c := range []struct {
				what, path, user, password, host string
				want                             int
			}{
				{"no password", "/", "", "", "", 401},
				{"a wrong password", "/", proxyUser, "x", "", 401},
				{"an asset without a password", "/style.css", "", "", "", 401},
				{"a message without a password", "/message/1", "", "", "", 401},
				{"the password", "/", proxyUser, proxySecret, "", 200},
				{"no such page", "/none", proxyUser, proxySecret, "", 404},
			} {
				w, err := p.get(c.path, c.user, c.password, c.host)
				if err != nil || w.StatusCode != c.want {
					t.Errorf("%s: %v %v", c.what, w, err)
				} else if c.want == 200 && w.Header.Get("Content-Security-Policy") != contentPolicy {
					t.Errorf("%s: %v", c.what, w.Header)
				}
			}
			if w, err := p.get("/", proxyUser, proxySecret, "evil.example"); err == nil && w.StatusCode == 200 && w.ContentLength != 0 {
				t.Errorf("another host name: %d", w.StatusCode)
			}
			p.browse()
		})
	}
}

// browse uses the page in a browser.
func (p *proxy) browse() {
	b := startBrowser(p.T, "--ignore-certificate-errors", "--host-resolver-rules=MAP "+proxyHost+" 127.0.0.1")
	origin := fmt.Sprintf("https://%s:%d", proxyHost, p.port)
	signedIn := strings.Replace(origin, "https://", "https://"+proxyUser+":"+strings.ReplaceAll(proxySecret, " ", "%20")+"@", 1)
	for _, scheme := range []string{"light", "dark"} {
		b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
		for _, width := range []int{375, 1280} {
			b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 800})
			for _, f := range b.open(signedIn + "/") {
				p.Errorf("%d wide, %s: %s", width, scheme, f)
			}
			if got := b.eval("document.querySelector('h1').innerText + ' ' + document.documentElement.scrollWidth"); got != fmt.Sprintf(`"Is my mail in order? %d"`, width) {
				p.Errorf("%s", got)
			}
			if folder := os.Getenv("SIGNPOST_SCREENSHOTS"); folder != "" {
				b.screenshot(filepath.Join(folder, fmt.Sprintf("behind-%s-%d-%s.png", p.name, width, scheme)), width, 0)
			}
		}
	}
	for limit := time.Now().Add(10 * time.Second); b.eval("document.querySelector('pre.copy') !== null") != "true"; b.open(signedIn + "/") {
		if time.Now().After(limit) {
			p.Fatal("there is nothing to copy")
		}
	}
	if got := b.eval(`getComputedStyle(document.querySelector("pre.copy")).userSelect`); got != `"all"` {
		p.Errorf("a click selects %s of a text to copy", got)
	}
	if got := b.eval(`(() => { const s = document.createElement("script"); try { s.text = "window.evil = 1"; document.head.append(s) } catch {} return window.evil === undefined })()`); got != "true" {
		p.Error("the policy lets a text run as a script")
	}
	bar := b.eval(`document.querySelector("svg.bars a").getAttribute("href")`)
	var link string
	b.read([]byte(bar), &link)
	b.open(origin + link)
	if n := b.eval(`document.querySelectorAll("a[href^='/message/']").length > 0`); n != "true" {
		p.Errorf("the bar %s leads to no message", link)
	}
}
