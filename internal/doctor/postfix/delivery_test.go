package postfix_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/internal/doctor/postfix"
	"signpost/internal/setup"
	"signpost/internal/testmta"
)

// With each of these addresses, a real Postfix replies 451 to mail, and doctor has a red finding. After the Fix, Postfix accepts mail.
func TestNamesInPostfix(t *testing.T) {
	if testing.Short() {
		t.Skip("runs Postfix")
	}
	if os.Geteuid() != 0 {
		t.Skip("Postfix needs root")
	}
	at := listening(t, "127.0.0.1:0", signpost(t))
	_, port, _ := strings.Cut(at, ":")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	mta, err := testmta.Start(ctx, testmta.Options{Milters: "inet:" + at, NonSMTPDMilters: "inet:" + at, Domains: []string{"example.org"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mta.Stop() }()
	conf, err := config.Parse(file, []byte("listen = [\"inet:"+at+"\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	etc := filepath.Join(mta.Dir, "etc")
	reload := func() {
		t.Helper()
		before := time.Now().Add(-time.Hour)
		if err := os.Chtimes(filepath.Join(etc, "main.cf"), before, before); err != nil {
			t.Fatal(err)
		}
		if out, err := mta.Run(ctx, "postfix", "reload"); err != nil {
			t.Fatal(err, out)
		}
	}
	// answers waits until Postfix replies to MAIL with a code. Processes from before the reload may serve a few more sessions.
	answers := func(code int) {
		t.Helper()
		var got error
		for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); {
			s, err := testmta.Dial(ctx, mta.SMTP)
			if err != nil {
				t.Fatal(err)
			}
			if _, got = s.Expect(220); got == nil {
				if _, got = s.Cmd(250, "EHLO client.example.net"); got == nil {
					_, got = s.Cmd(250, "MAIL FROM:<ann@example.net>")
				}
			}
			_ = s.Close()
			if code == 250 && got == nil || code == 451 && got != nil && strings.Contains(got.Error(), "451") {
				return
			}
		}
		t.Fatalf("not %d: %v", code, got)
	}
	find := func() []doctor.Finding {
		f := setup.PostfixFacts(conf, file, etc)
		f.Wait = 20 * time.Second
		list := slices.DeleteFunc(postfix.Checks(f), func(c doctor.Check) bool {
			return c.Name != "postfix" && c.Name != "smtpd-milters" && !strings.HasPrefix(c.Name, "socket-")
		})
		return slices.DeleteFunc(doctor.Run(ctx, list), func(f doctor.Finding) bool { return f.Level == doctor.Green })
	}
	answers(250)
	for _, name := range []string{"inet:[::1]:" + port, "inet:127.0.0.2:" + port, `"inet:` + at + `"`, "{ inet:[::1]:" + port + ", connect_timeout=10s }", "inet:127.0.0.1:1, inet:" + at} {
		if out, err := mta.Run(ctx, "postconf", "-e", "smtpd_milters = "+name); err != nil {
			t.Fatal(err, out)
		}
		reload()
		answers(451)
		found := find()
		if len(found) != 1 || found[0].Level != doctor.Red {
			t.Fatalf("%s: got %+v", name, found)
		}
		shell(t, found[0].Fix)
		reload()
		answers(250)
		if found := find(); len(found) > 0 {
			t.Errorf("%s, after the fix: %+v", name, found)
		}
	}
}
