package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/testport"
)

// The configurations of docs/metrics.md for Caddy and nginx require a login, and then show the page, which listens on a unix socket.
func TestPageBehindProxy(t *testing.T) {
	docs, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(begin string) string {
		m := regexp.MustCompile(`(?m)^    ` + begin + `[^\n]*\n(?:    [^\n]*\n)+?    }\n`).FindString(string(docs))
		if m == "" {
			t.Fatal("docs/metrics.md has no configuration that begins with " + begin)
		}
		return strings.ReplaceAll("\n"+m, "\n    ", "\n")
	}
	for _, p := range []struct {
		program, block string
		start          func(t *testing.T, dir, conf, addr string) *exec.Cmd
	}{
		{"caddy", block("page.example.org {"), func(t *testing.T, dir, conf, addr string) *exec.Cmd {
			hash, err := exec.Command("caddy", "hash-password", "--plaintext", "secret").Output()
			if err != nil {
				t.Fatal(err)
			}
			conf = "{\n\tadmin off\n\tauto_https off\n}\n" + strings.NewReplacer("page.example.org {", "http://page.example.org:"+port(addr)+" {\n\tbind 127.0.0.1", "HASH", strings.TrimSpace(string(hash))).Replace(conf)
			file := place(t, dir, "Caddyfile", conf)
			cmd := exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", file)
			cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
			return cmd
		}},
		{"nginx", block("location / {"), func(t *testing.T, dir, conf, addr string) *exec.Cmd {
			users := place(t, dir, "users", "ann:{PLAIN}secret\n")
			conf = strings.ReplaceAll(conf, "/etc/nginx/signpost.htpasswd", users)
			file := place(t, dir, "nginx.conf", "daemon off;\nuser root;\npid "+dir+"/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\nserver {\nlisten "+addr+";\nserver_name page.example.org;\n"+conf+"}\n}\n")
			return exec.Command("nginx", "-p", dir, "-c", file)
		}},
	} {
		t.Run(p.program, func(t *testing.T) {
			if _, err := exec.LookPath(p.program); err != nil || testing.Short() {
				t.Skip("scripts/setup matrix installs " + p.program)
			}
			dir := t.TempDir()
			a := newArchive(t)
			a.keep(caseReports(t, "forged")...)
			socket := filepath.Join(dir, "page.sock")
			conf, err := config.Load(a.file)
			if err != nil {
				t.Fatal(err)
			}
			site, errs := newSite(conf, "/bin/false", a.file, []string{"page.example.org"}), &syncBuffer{}
			ctx, stop := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() { served <- serveWeb(ctx, site, address{listen: "unix:" + socket, mode: "0660"}, errs) }()
			defer func() {
				stop()
				if err := <-served; err != nil {
					t.Error(err)
				}
			}()
			number, release, err := testport.Take("127.0.0.1")
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(number))
			proxy := p.start(t, dir, strings.ReplaceAll(p.block, "/run/signpost-web/page.sock", socket), addr)
			log := &syncBuffer{}
			proxy.Stdout, proxy.Stderr = log, log
			if err := proxy.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = proxy.Process.Signal(syscall.SIGTERM)
				_ = proxy.Wait()
			}()
			get := func(path, password string) (int, string) {
				r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+addr+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Host = "page.example.org"
				if password != "" {
					r.SetBasicAuth("ann", password)
				}
				var answer *http.Response
				for limit := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
					if answer, err = http.DefaultClient.Do(r); err == nil && answer.StatusCode != http.StatusBadGateway {
						break
					}
					if time.Now().After(limit) {
						t.Fatalf("%v\n%s\n%s", err, log, errs)
					}
				}
				defer answer.Body.Close()
				body, err := io.ReadAll(answer.Body)
				if err != nil {
					t.Fatal(err)
				}
				return answer.StatusCode, string(body)
			}
			for _, c := range []struct {
				path, password string
				status         int
				text           string
			}{{"/", "", 401, ""}, {"/", "wrong", 401, ""}, {"/", "secret", 200, "Things to do"}, {"/search?action=reject", "secret", 200, "forged"}, {"/style.css", "secret", 200, "--ground"}} {
				if status, body := get(c.path, c.password); status != c.status || !strings.Contains(body, c.text) {
					t.Errorf("%s with password %q: %d, want %d and %q\n%.300s", c.path, c.password, status, c.status, c.text, body)
				}
			}
		})
	}
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

func place(t *testing.T, dir, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
