// Package packaging tests the installed package. Each test runs on a separate machine, which is made of namespaces. Its file system is
// an overlay over that of this machine, and its only network is loopback.
package packaging

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// These environment variables pass two directories from the outer process to the inner one: the directory of its machine, and the directory
// of the packages and README.md.
const (
	machineVar  = "SIGNPOST_TEST_MACHINE"
	packagesVar = "SIGNPOST_TEST_PACKAGES"
)

// These are the machine's name, and an address of the machine that is not in Postfix's mynetworks.
const (
	hostname = "mx.example.net"
	stranger = "203.0.113.9"
)

func TestMain(m *testing.M) {
	if _, helper := os.LookupEnv("CONNECT_ROOT"); helper { // this process is on the machine already
		os.Exit(m.Run())
	}
	if dir := os.Getenv(machineVar); dir != "" {
		if err := boot(dir); err != nil {
			fmt.Fprintln(os.Stderr, "making the machine:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	flag.Parse()
	if testing.Short() {
		os.Exit(m.Run()) // tests that need a package are skipped
	}
	code, err := outside(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// outside builds two versions of the package and runs the tests.
func outside(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "signpost-packages")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	for _, version := range []string{"1.0~test1", "1.0~test2"} {
		cmd := exec.Command("../../scripts/deb", dir)
		cmd.Env = append(os.Environ(), "VERSION="+version)
		if out, err := cmd.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("scripts/deb: %w\n%s", err, out)
		}
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		return 1, err
	}
	if err := os.WriteFile(filepath.Join(dir, "README.md"), readme, 0o644); err != nil {
		return 1, err
	}
	if err := os.Setenv(packagesVar, dir); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// deb returns the file of a version of the package: 1 or 2.
func deb(t *testing.T, version int) string {
	if testing.Short() {
		t.Skip("needs a package")
	}
	t.Helper()
	found, err := filepath.Glob(filepath.Join(os.Getenv(packagesVar), fmt.Sprintf("signpost_1.0~test%d_*.deb", version)))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	return found[0]
}

// inside reports whether this process is on the machine. If not, inside runs the calling test on a machine and reports its result; the
// caller then returns.
func inside(t *testing.T) bool {
	if testing.Short() {
		t.Skip("runs on a machine with the package installed")
	}
	t.Helper()
	if os.Getenv(machineVar) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("installing a package and starting Postfix need root")
	}
	t.Parallel()
	// Pdeathsig is tied to the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), machineVar+"="+t.TempDir(), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
	// When the first process of its process namespace ends, all processes on the machine end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

// boot makes this process the first process of a machine. The machine has a file system, devices, a name and loopback.
func boot(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making the mounts private: %w (in a chroot, / must be a mount point: mount --bind ROOT ROOT)", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
		return err
	}
	root := filepath.Join(dir, "machine")
	for _, d := range []string{"upper", "work", "machine"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	for _, m := range []struct{ kind, target, data string }{
		{"overlay", root, "lowerdir=/,upperdir=" + dir + "/upper,workdir=" + dir + "/work"},
		{"proc", root + "/proc", ""},
		{"tmpfs", root + "/dev", "mode=0755"},
		{"tmpfs", root + "/run", "mode=0755"},
		{"devpts", root + "/dev/pts", "newinstance,ptmxmode=0666"},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.target, m.kind, 0, m.data); err != nil {
			return fmt.Errorf("mounting %s: %w", m.target, err)
		}
	}
	for link, to := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd"} {
		if err := os.Symlink(to, filepath.Join(root, "dev", link)); err != nil {
			return err
		}
	}
	packages := filepath.Join(root, os.Getenv(packagesVar))
	if err := os.MkdirAll(packages, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(os.Getenv(packagesVar), packages, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting the packages: %w", err)
	}
	for _, device := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		target := filepath.Join(root, "dev", device)
		if err := os.WriteFile(target, nil, 0o644); err != nil {
			return err
		}
		if err := unix.Mount("/dev/"+device, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", target, err)
		}
	}
	if err := unix.Chroot(root); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return err
	}
	if err := os.Remove("/etc/resolv.conf"); err != nil { // it may be a dangling link
		return err
	}
	// Updating the index of the manual pages takes ten times as long as the rest of dpkg.
	if err := os.Remove("/var/lib/man-db/auto-update"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for name, text := range map[string]string{
		"/etc/resolv.conf":      "nameserver 127.0.0.1\n",
		"/etc/hosts":            "127.0.0.1 localhost\n127.0.1.1 " + hostname + "\n",
		"/usr/sbin/policy-rc.d": "#!/bin/sh\nexit 101\n", // packages start no services here
		"/etc/mailname":         hostname + "\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			return err
		}
	}
	return loopback()
}

// loopback activates lo with the address of the unauthenticated client. This address is then also the source address of connections to
// it.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bringing loopback up: %w", err)
	}
	alias, err := unix.NewIfreq("lo:1")
	if err != nil {
		return err
	}
	ip := netip.MustParseAddr(stranger).As4()
	if err := alias.SetInet4Addr(ip[:]); err != nil {
		return err
	}
	return unix.IoctlIfreq(fd, unix.SIOCSIFADDR, alias)
}

// run runs a shell line as root and returns its output.
func run(t *testing.T, line string) string {
	t.Helper()
	cmd := exec.Command("sh", "-ec", line)
	// The output goes to a file, because a daemon may keep a pipe open.
	out, err := os.CreateTemp("", "run")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	text, _ := os.ReadFile(out.Name())
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, text)
	}
	return string(text)
}

// until checks a condition repeatedly until a deadline.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// unitSetting returns the value of a key in an installed unit.
func unitSetting(t *testing.T, unit, key string) string {
	t.Helper()
	text, err := os.ReadFile("/usr/lib/systemd/system/" + unit)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			return value
		}
	}
	t.Fatalf("%s has no %s", unit, key)
	return ""
}

// start starts the daemon as its unit would, and returns its log.
func start(t *testing.T) (log string) {
	t.Helper()
	user := unitSetting(t, "signpost.service", "User")
	log = "/run/signpost.log"
	run(t, fmt.Sprintf("setsid setpriv --reuid %s --regid %s --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all %s >%s 2>&1 & echo $! >/run/signpost.pid",
		user, user, unitSetting(t, "signpost.service", "ExecStart"), log))
	until(t, "the daemon accepts connections", func() bool {
		c, err := net.Dial("unix", "/var/spool/postfix/signpost/milter.sock")
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	t.Cleanup(func() {
		if text, _ := os.ReadFile(log); t.Failed() {
			t.Logf("the daemon's log:\n%s", text)
		}
	})
	return log
}

// stop stops the daemon that start started, and waits until it has ended.
func stop(t *testing.T) {
	t.Helper()
	pid := strings.TrimSpace(run(t, "cat /run/signpost.pid; kill $(cat /run/signpost.pid)"))
	until(t, "the daemon ends", func() bool {
		_, err := os.Readlink("/proc/" + pid + "/exe") // the link of a zombie cannot be read
		return err != nil
	})
}
