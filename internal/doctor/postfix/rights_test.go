package postfix_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/internal/doctor/host"
	"signpost/internal/doctor/postfix"
	"signpost/internal/setup"
)

// A check for which the user has no permission is yellow, neither red nor green.
func TestWithoutRights(t *testing.T) {
	q := newQueue(t)
	q.listen(t)
	q.sh(t, "mkdir -m 700 -p state/keys/example.org; touch etc/signpost.toml; chmod 644 etc/signpost.toml; chown -R daemon:daemon state")
	c := exec.Command("/proc/self/exe", "-test.run=^TestLookAsNobody$")
	c.Env = append(os.Environ(), "LOOK_STATE="+q.root+"/state", "LOOK_FILE="+q.root+"/etc/signpost.toml", "LOOK_SOCKET="+q.socket, "LOOK_POSTFIX="+q.etc)
	out, err := c.CombinedOutput()
	_, list, ok := strings.Cut(string(out), "found ")
	if err != nil || !ok {
		t.Fatalf("%v\n%s", err, out)
	}
	var found []doctor.Finding
	if err := json.NewDecoder(strings.NewReader(list)).Decode(&found); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	levels := map[string]doctor.Level{}
	for _, f := range found {
		levels[f.Check] = f.Level
		if (f.Check == "key-files" || f.Check == "socket-answers" || f.Check == "socket-access") && (f.Fix != "sudo signpost doctor" || !strings.Contains(f.What, "permission denied: user nobody cannot check this") || !strings.HasSuffix(f.What, "run doctor as root")) {
			t.Errorf("%+v", f)
		}
	}
	for check, want := range map[string]doctor.Level{"key-files": doctor.Yellow, "socket-answers": doctor.Yellow, "socket-access": doctor.Yellow, "config": doctor.Green} {
		if levels[check] != want {
			t.Errorf("%s is %q, want %q: %+v", check, levels[check], want, found)
		}
	}
}

// TestLookAsNobody is the child process of TestWithoutRights.
func TestLookAsNobody(t *testing.T) {
	state := os.Getenv("LOOK_STATE")
	if state == "" {
		return // only TestWithoutRights runs it
	}
	nobody, err := doctor.LookupAccount("nobody")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{syscall.Setgroups(nil), syscall.Setgid(int(nobody.GIDs[0])), syscall.Setuid(int(nobody.UID))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	conf := config.Default()
	conf.StateDir = state
	conf.Listen = []config.Listener{{Network: "unix", Address: os.Getenv("LOOK_SOCKET")}}
	ofHost, ofPostfix := setup.HostFacts(conf, os.Getenv("LOOK_FILE"), nil, time.Now()), setup.PostfixFacts(conf, "", os.Getenv("LOOK_POSTFIX"))
	ofHost.User, ofHost.Concerns, ofPostfix.User = "daemon", nil, "daemon"
	found := doctor.Run(t.Context(), host.Checks(ofHost))
	for _, f := range doctor.Run(t.Context(), postfix.Checks(ofPostfix)) {
		if strings.HasPrefix(f.Check, "socket-a") && f.Level != doctor.Green {
			found = append(found, f)
		}
	}
	data, err := json.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("found", string(data))
}
