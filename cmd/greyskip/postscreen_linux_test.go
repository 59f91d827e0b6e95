package main

import (
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"signpost/internal/testmta"
	"signpost/internal/testport"
)

// insideVar is set in the inner process of TestPostscreen.
const insideVar = "GREYSKIP_TEST_INSIDE"

// A listed client passes a real postscreen of Debian without the deep tests, and an unlisted client does not. A client that is
// added to the file passes after --reload.
func TestPostscreen(t *testing.T) {
	if os.Getenv(insideVar) == "" {
		alone(t)
		return
	}
	const listed, unlisted, coming = "37.0.3.7", "38.0.0.7", "38.0.0.8"
	for i, addr := range []string{"", listed, unlisted, coming} {
		loopback(t, i, addr)
	}
	w := newWorld(t, records, "one.example\nthree.example\n")
	w.quiet(w.cron(0))
	if err := os.Chmod(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	port, release, err := testport.Take("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	at := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}).String()
	mta, err := testmta.Start(t.Context(), testmta.Options{
		Domains: []string{"example.org"},
		MainCF: map[string]string{
			"postscreen_access_list":             "cidr:" + w.list,
			"postscreen_greet_wait":              "1s",
			"postscreen_greet_action":            "enforce",
			"postscreen_pipelining_enable":       "yes",
			"postscreen_non_smtp_command_enable": "yes",
			"postscreen_bare_newline_enable":     "yes",
		},
		MasterCF: at + " inet n - n - 1 postscreen\nsmtpd pass - - n - - smtpd\ndnsblog unix - - n - 0 dnsblog\ntlsproxy unix - - n - 0 tlsproxy\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := mta.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if reply := recipient(t, listed, at); !strings.HasPrefix(reply, "250 2.1.5") {
		t.Errorf("the listed client gets %q", reply)
	}
	if reply := recipient(t, unlisted, at); !strings.HasPrefix(reply, "450 4.3.2") {
		t.Errorf("the unlisted client gets %q", reply)
	}
	if err := mta.WaitLog(t.Context(), "PASS NEW ["+unlisted+"]"); err != nil {
		t.Error(err)
	}
	log := mta.Log()
	// Postfix before 3.6 logs WHITELISTED.
	if !regexp.MustCompile(`postscreen\[\d+\]: (ALLOW|WHITE)LISTED \[37\.0\.3\.7\]`).MatchString(log) || strings.Contains(log, "PASS NEW ["+listed) {
		t.Errorf("postscreen does not accept the listed client:\n%s", log)
	}
	if !regexp.MustCompile(`postscreen\[\d+\]: NOQUEUE: reject: RCPT from \[38\.0\.0\.7\]:\d+: 450 4\.3\.2`).MatchString(log) || regexp.MustCompile(`LISTED \[38\.0\.0\.7\]`).MatchString(log) {
		t.Errorf("postscreen does not test the unlisted client:\n%s", log)
	}

	w.zone(strings.Replace(records, "37.0.9.0/24", "37.0.9.0/24 ip4:"+coming, 1))
	w.quiet(w.cron(0, "--reload", "postfix -c "+mta.Dir+"/etc reload"))
	// The postscreen process with the old list may take a moment to exit.
	for end := time.Now().Add(20 * time.Second); !strings.Contains(mta.Log(), "LISTED ["+coming+"]"); {
		if recipient(t, coming, at); time.Now().After(end) {
			t.Fatalf("after the reload the client is not accepted:\n%s", mta.Log())
		}
	}
}

// alone runs this test again in its own network namespace, where loopback can have addresses that are not local to this host.
func alone(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Postfix")
	}
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network namespace and Postfix's master need root")
	}
	t.Parallel()
	// Pdeathsig is tied to the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), insideVar+"=yes")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Cloneflags: syscall.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// loopback activates loopback, and sets the address of its n-th alias.
func loopback(t *testing.T, n int, addr string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	name := "lo"
	if n > 0 {
		name += ":" + string(rune('0'+n))
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	what := uint(unix.SIOCSIFADDR)
	if addr == "" {
		what = unix.SIOCSIFFLAGS
		request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	} else if err := request.SetInet4Addr(net.ParseIP(addr).To4()); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlIfreq(fd, what, request); err != nil {
		t.Fatalf("%s %s: %v", name, addr, err)
	}
}

// recipient returns the reply to RCPT for a client at an address.
func recipient(t *testing.T, from, at string) string {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	conn, err := dialer.DialContext(t.Context(), "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	text := textproto.NewConn(conn)
	if _, _, err := text.ReadResponse(220); err != nil {
		t.Fatal(from, err)
	}
	for _, line := range []string{"EHLO mail.three.example", "MAIL FROM:<ann@three.example>"} {
		if err := text.PrintfLine("%s", line); err != nil {
			t.Fatal(err)
		}
		if _, _, err := text.ReadResponse(250); err != nil {
			t.Fatal(from, line, err)
		}
	}
	if err := text.PrintfLine("RCPT TO:<bob@example.org>"); err != nil {
		t.Fatal(err)
	}
	reply, err := text.ReadLine()
	if err != nil {
		t.Fatal(err)
	}
	if err := text.PrintfLine("QUIT"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := text.ReadResponse(221); err != nil {
		t.Error(from, err)
	}
	return reply
}
