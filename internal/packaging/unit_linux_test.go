package packaging

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"signpost/internal/config"
)

// By `systemd-analyze security`, the units of the daemon and of the web page have an exposure of at most 1.5. The network access for
// DNS and metrics accounts for 0.9 of this value.
func TestHardening(t *testing.T) {
	if testing.Short() {
		t.Skip("runs systemd-analyze")
	}
	for _, unit := range []string{"signpost.service", "signpost-web.service", "signpost-tables.service", "signpost-cluster.service", "signpost-reports.service"} {
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", "../../dist/"+unit).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
	}
}

// systemd reports no errors in the units, except for the path of the program, which make install changes.
func TestUnits(t *testing.T) {
	if testing.Short() {
		t.Skip("runs systemd-analyze")
	}
	dir := t.TempDir()
	units, err := filepath.Glob("../../dist/*.*")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"verify", "--man=no"}
	for _, unit := range units {
		if ext := filepath.Ext(unit); ext != ".service" && ext != ".socket" && ext != ".timer" {
			continue
		}
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		for _, program := range []string{"signpost-cluster", "signpost", "dkimkey", "greyskip"} {
			text = []byte(strings.ReplaceAll(string(text), "/usr/local/sbin/"+program, "/bin/true"))
		}
		file := filepath.Join(dir, filepath.Base(unit))
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	if len(args) != 2+11 {
		t.Errorf("checked %q", args[2:])
	}
	if out, err := exec.Command("systemd-analyze", args...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// systemd accepts the units of docs/metrics.md that mail the digest. The timer starts the service, which runs the command of the cron line.
func TestDigestUnits(t *testing.T) {
	if testing.Short() {
		t.Skip("runs systemd-analyze")
	}
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	const command = `signpost digest | mail -s "Signpost on $(hostname)" postmaster`
	if !strings.Contains(string(text), "    0 7 * * 1 root "+command+"\n") {
		t.Error("there is no cron line")
	}
	dir := t.TempDir()
	args := []string{"verify", "--man=no"}
	for part := range strings.SplitSeq(string(text), "```ini\n") {
		unit, _, _ := strings.Cut(part, "```")
		if !strings.Contains(unit, "Mail the digest") {
			continue
		}
		name := "mail-digest.service"
		switch {
		case strings.Contains(unit, "OnCalendar="):
			name = "mail-digest.timer"
		case !strings.Contains(unit, "ExecStart=/bin/sh -c '"+strings.ReplaceAll(command, "$", "$$")+"'\n"):
			t.Errorf("another command than that of cron:\n%s", unit)
		}
		if !strings.HasPrefix(unit, "[Unit]\n") || !strings.Contains(string(text), "/etc/systemd/system/"+name) {
			t.Errorf("%s:\n%s", name, unit)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(unit), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, filepath.Join(dir, name))
	}
	if len(args) != 2+2 {
		t.Errorf("checked %q", args[2:])
	}
	if out, err := exec.Command("systemd-analyze", args...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// The unit for socket activation has the same socket, mode and group as the shipped configuration.
func TestSocketUnit(t *testing.T) {
	text, err := os.ReadFile("../../dist/signpost.socket")
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	mode, group := c.Rights(c.Listen[0])
	for _, line := range []string{"ListenStream=" + c.Listen[0].Address, "SocketGroup=" + group, fmt.Sprintf("SocketMode=%04o", mode)} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("signpost.socket does not contain %s", line)
		}
	}
}
