package host_test

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/internal/doctor/host"
	"signpost/internal/setup"
)

// machine has the files of a Signpost daemon. The daemon runs as user "daemon", because that user exists on every system.
type machine struct {
	root, file string
	conf       *config.Config
	faulty     error
	change     func(*host.Facts)
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("files of other owners need root")
	}
	root, err := os.MkdirTemp("", "doctor") // other users cannot search the directory of t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	h := &machine{root: root, file: root + "/etc/signpost.toml", conf: config.Default(), change: func(*host.Facts) {}}
	h.conf.StateDir = root + "/state"
	h.sh(t, `chmod 755 . && mkdir -m 755 etc && mkdir -m 700 -p state/keys/example.org state/keys/example.net state/hosted
		touch etc/signpost.toml; chmod 644 etc/signpost.toml
		for f in org/a org/b net/a; do touch state/keys/example.$f.pem state/keys/example.$f.json; chmod 600 state/keys/example.$f.*; done
		chown -R daemon:daemon state`)
	return h
}

func (h *machine) sh(t *testing.T, line string) {
	t.Helper()
	c := exec.Command("sh", "-ec", line)
	c.Dir = h.root
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// find returns the findings that are not green, except those about the clock of the machine that runs the test.
func (h *machine) find() (all []doctor.Finding) {
	facts := setup.HostFacts(h.conf, h.file, h.faulty, time.Now())
	facts.User, facts.Concerns = "daemon", nil
	h.change(&facts)
	for _, f := range doctor.Run(context.Background(), host.Checks(facts)) {
		if f.Level != doctor.Green && f.Check != "clock" {
			all = append(all, f)
		}
	}
	return all
}

// Each problem with the daemon's files is reported by exactly one check. Its Fix, run by sh, corrects the problem.
func TestMachine(t *testing.T) {
	for _, c := range []struct {
		name, sh, check, what string
		level                 doctor.Level
	}{
		{name: "healthy"},
		{"a key for the world", "chmod 604 state/keys/example.org/a.pem", "key-files", "example.org/a.pem", doctor.Red},
		{"two keys for the world", "chmod 604 state/keys/example.org/?.pem", "key-files", "example.org/a.pem, and others", doctor.Red},
		{"a key for another group", "chgrp users state/keys/example.org/a.pem; chmod 640 state/keys/example.org/a.pem", "key-files", "other users can read", doctor.Red},
		{"a key for the daemon's group", "chmod 640 state/keys/example.org/a.pem", "key-files", "the daemon's group can read", doctor.Yellow},
		{"a key of root", "chown root state/keys/example.org/a.pem", "key-files", "cannot read", doctor.Red},
		{"metadata of root", "chown root:root state/keys/example.org/a.json", "key-files", "a.json", doctor.Red},
		{"a domain of root", "chown root:root state/keys/example.org", "key-files", "keys/example.org", doctor.Red},
		{"a backup restored by root", "chown -R root:root state/keys", "key-files", "does not belong to user daemon", doctor.Red},
		{"keys that any user may add to", "chmod 777 state/keys", "key-files", "other users can write", doctor.Red},
		{"a domain that any user may add to", "chmod 777 state/keys/example.org", "key-files", "other users can write to ROOT/state/keys/example.org", doctor.Red},
		{"a domain of another group", "chgrp users state/keys/example.org; chmod 770 state/keys/example.org", "key-files", "other users can write to ROOT/state/keys/example.org", doctor.Red},
		{"two domains that any user may add to", "chmod 777 state/keys/example.*", "key-files", "keys/example.net, and 1 more", doctor.Red},
		{"a link to a domain that any user may add to", "mv state/keys/example.org real; ln -s ../../real state/keys/example.org; chmod 777 real state/keys/example.net", "key-files", "and 1 more", doctor.Red},
		{"a domain of another user", "chown nobody state/keys/example.org; chmod 755 state/keys/example.org", "key-files", "a user other than daemon owns ROOT/state/keys/example.org", doctor.Red},
		{"metadata that any user may change", "chmod 666 state/keys/example.org/a.json", "key-files", "other users can write to ROOT/state/keys/example.org/a.json", doctor.Red},
		{"keys in a world-writable directory", "chmod 777 .", "key-files", "any user can replace the keys: ROOT", doctor.Red},
		{"a domain that all may list", "chmod 755 state/keys state/keys/example.org", "", "", ""},
		{"hosted domains that any user may add to", "chmod 777 state/hosted", "state-dir", "any user can write to ROOT/state/hosted", doctor.Red},
		{"no keys directory", "rm -r state/keys", "key-files", "does not exist", doctor.Red},
		{"a key that is a link without a target", "rm state/keys/example.org/a.pem; ln -s /nowhere state/keys/example.org/a.pem", "", "", ""},
		{"a state directory that cannot be written", "chown root:daemon state; chmod 750 state", "state-dir", "cannot write to", doctor.Red},
		{"the hosted domains cannot be written", "chown root:root state/hosted", "state-dir", "state/hosted", doctor.Red},
		{"locks of root", "mkdir -m 700 state/locks", "state-dir", "cannot write to ROOT/state/locks", doctor.Red},
		{"a world-writable state directory", "chmod 777 state", "state-dir", "any user can write", doctor.Red},
		{"no configuration", "rm etc/signpost.toml", "config", "the configuration file does not exist", doctor.Red},
		{"a configuration for root alone", "chmod 600 etc/signpost.toml", "config", "cannot read", doctor.Red},
		{"a closed directory of the configuration", "chmod 700 etc", "config", "cannot search", doctor.Red},
		{"drop-ins for root alone", "mkdir -m 700 etc/conf.d", "config", "cannot read", doctor.Red},
		{"a drop-in for root alone", "mkdir -m 755 etc/conf.d; touch etc/conf.d/a.toml; chmod 600 etc/conf.d/a.toml", "config", "conf.d/a.toml", doctor.Red},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newMachine(t)
			h.sh(t, cmp.Or(c.sh, ":"))
			h.conf.Files, _ = filepath.Glob(h.root + "/etc/conf.d/*.toml")
			found := h.find()
			if c.check == "" {
				if len(found) > 0 {
					t.Errorf("a healthy machine: %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Check != c.check || found[0].Level != c.level || !strings.Contains(found[0].What, strings.ReplaceAll(c.what, "ROOT", h.root)) {
				t.Fatalf("got %+v, want one %s with %q", found, c.check, c.what)
			}
			// The machine that runs the test may have no user and no group signpost.
			h.sh(t, strings.ReplaceAll(found[0].Fix, "-o signpost -g signpost", "-o daemon -g daemon"))
			if found := h.find(); len(found) > 0 {
				t.Errorf("after %s: %+v", found[0].Fix, found)
			}
		})
	}
}

// An error in a drop-in file causes a finding with the name of that file and the line.
func TestFaultyDropIn(t *testing.T) {
	h := newMachine(t)
	h.sh(t, `mkdir etc/conf.d; printf 'mode = "observe"\n' >etc/conf.d/a.toml; printf '\nmode = "on"\n' >etc/conf.d/b.toml`)
	_, h.faulty = config.Load(h.file)
	b := h.root + "/etc/conf.d/b.toml"
	if found := h.find(); len(found) != 1 || found[0].Level != doctor.Red || found[0].Where != b+`:2: mode = "on"` || found[0].Fix != "${EDITOR:-vi} +2 '"+b+"'" {
		t.Errorf("%+v", found)
	}
}

// Each error of a configuration is a finding with its line and the text of that line.
func TestFaultyConfiguration(t *testing.T) {
	h := newMachine(t)
	text := "[sign]\non_missing_key = \"reject\"\ncolour = \"\x1b[31m\"\n"
	if err := os.WriteFile(h.file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	_, h.faulty = config.Parse(h.file, []byte("[sign]\non_missing_key = \"reject\"\ncolour = \"blue\"\n"))
	found := h.find()
	if len(found) != 2 || found[0].Level != doctor.Red || found[0].Where != h.file+`:2: on_missing_key = "reject"` || !strings.Contains(found[0].What, "sign.on_missing_key") ||
		!strings.Contains(found[0].Fix, "+2 '"+h.file+"'") || found[1].Where != h.file+`:3: colour = "\x1b[31m"` {
		t.Errorf("%+v", found)
	}
}

// Observe mode is the first finding, even before worse findings.
func TestObserveModeIsFirst(t *testing.T) {
	h := newMachine(t)
	h.sh(t, "chmod 777 state; printf 'mode = \"observe\"\\n' >etc/signpost.toml")
	var err error
	if h.conf, err = config.Load(h.file); err != nil {
		t.Fatal(err)
	}
	h.conf.StateDir = h.root + "/state"
	found := doctor.Arrange(h.find())
	if len(found) != 2 || found[0].Check != "mode" || found[0].Level != doctor.Yellow || found[0].Where != h.file+":1" || found[1].Level != doctor.Red {
		t.Fatalf("got %+v", found)
	}
	if h.conf, err = config.Parse(h.file, []byte(found[0].Fix)); err != nil {
		t.Fatal(err)
	}
	h.conf.StateDir = h.root + "/state"
	if found := h.find(); len(found) != 1 {
		t.Errorf("after the fix: %+v", found)
	}
}

func TestConcernsAreYellow(t *testing.T) {
	h := newMachine(t)
	h.change = func(f *host.Facts) {
		f.Concerns = []doctor.Finding{{What: "has expired", Why: "for a reason", Fix: "# take it out"}}
	}
	if found := h.find(); len(found) != 1 || found[0].Check != "config" || found[0].Level != doctor.Yellow || found[0].Where != h.file {
		t.Errorf("%+v", found)
	}
}

func TestNoServiceUser(t *testing.T) {
	h := newMachine(t)
	h.change = func(f *host.Facts) { f.User = "nobody-of-this-name" }
	if found := h.find(); len(found) != 1 || found[0].Check != "service-user" || found[0].Level != doctor.Red || found[0].Fix == "" {
		t.Errorf("%+v", found)
	}
}

func TestNoResolver(t *testing.T) {
	h := newMachine(t)
	h.change = func(f *host.Facts) { f.ResolverErr = errors.New("resolv.conf: nameserver \"x\" is no address") }
	if found := h.find(); len(found) != 1 || found[0].Check != "resolver" || found[0].Level != doctor.Red || !strings.Contains(found[0].Where, "is no address") {
		t.Errorf("%+v", found)
	}
}
