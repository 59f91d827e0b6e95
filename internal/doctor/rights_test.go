package doctor

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"signpost/internal/config"
)

// What the user who asks may not look at is yellow, and nothing that he cannot see is called wrong or right.
func TestWithoutRights(t *testing.T) {
	h := newHost(t)
	q := newQueue(t)
	q.listen(t)
	c := exec.Command("/proc/self/exe", "-test.run=^TestLookAsNobody$")
	c.Env = append(os.Environ(), "LOOK_STATE="+h.Config.StateDir, "LOOK_FILE="+h.File, "LOOK_SOCKET="+q.socket, "LOOK_POSTFIX="+q.etc)
	out, err := c.CombinedOutput()
	_, list, ok := strings.Cut(string(out), "found ")
	if err != nil || !ok {
		t.Fatalf("%v\n%s", err, out)
	}
	var found []Finding
	if err := json.NewDecoder(strings.NewReader(list)).Decode(&found); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	levels := map[string]Level{}
	for _, f := range found {
		levels[f.Check] = f.Level
		if (f.Check == "key-files" || f.Check == "socket-answers" || f.Check == "socket-access") && (f.Fix != "sudo signpost doctor" || !strings.Contains(f.What, "user nobody has no right")) {
			t.Errorf("%+v", f)
		}
	}
	for check, want := range map[string]Level{"key-files": Yellow, "socket-answers": Yellow, "socket-access": Yellow, "config": Green} {
		if levels[check] != want {
			t.Errorf("%s is %q, want %q: %+v", check, levels[check], want, found)
		}
	}
}

// The child of TestWithoutRights.
func TestLookAsNobody(t *testing.T) {
	state := os.Getenv("LOOK_STATE")
	if state == "" {
		return // it is run by the other test
	}
	nobody, err := lookupPerson("nobody")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{syscall.Setgroups(nil), syscall.Setgid(int(nobody.gids[0])), syscall.Setuid(int(nobody.uid))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	conf := config.Default()
	conf.StateDir = state
	conf.Listen = []config.Listener{{Network: "unix", Address: os.Getenv("LOOK_SOCKET")}}
	found := Machine{Config: conf, File: os.Getenv("LOOK_FILE"), User: "daemon"}.Check()
	for _, f := range (Sockets{Config: conf, User: "daemon", Dir: os.Getenv("LOOK_POSTFIX")}).Check(t.Context()) {
		if f.Level != Green {
			found = append(found, f)
		}
	}
	data, err := json.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("found", string(data))
}
