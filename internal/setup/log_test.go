package setup

import (
	"fmt"
	"log/slog"
	"log/syslog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"signpost/internal/config"
)

// With log.syslog = "mail", a line has facility mail, the priority of its level, and the attributes. It has no second time stamp.
func TestSyslog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	ln, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	w, err := syslog.Dial("unixgram", path, facility("mail")|syslog.LOG_INFO, "signpost")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	log := slog.New(newSyslogHandler(w, config.Log{Format: "text"}, &slog.HandlerOptions{}))
	log.Debug("not asked for")
	log.Info("message", "queue_id", "4XYZ", "sender", "a\nb")
	log.Error("no key")
	// RFC 5424 section 6.2.1: facility mail is 2, informational 6, error 3.
	for _, want := range [][]string{{"<22>", "signpost[", "msg=message queue_id=4XYZ", `sender="a\nb"`}, {"<19>", "msg=\"no key\""}} {
		buf := make([]byte, 4096)
		if err := ln.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := ln.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range want {
			if !strings.Contains(string(buf[:n]), part) {
				t.Errorf("%q lacks %q", buf[:n], part)
			}
		}
		if strings.Contains(string(buf[:n]), "time=") {
			t.Errorf("two time stamps: %q", buf[:n])
		}
	}
}

// Under systemd, each line begins with its priority, so that journalctl -p warning finds it. In a file, lines have no priority.
func TestJournalPriority(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{"", fmt.Sprintf("%d:%d", st.Dev, st.Ino+1), fmt.Sprintf("%d:%d", st.Dev, st.Ino)} {
		t.Setenv("JOURNAL_STREAM", stream)
		log, err := Logger(config.Default().Log, new(slog.LevelVar), f)
		if err != nil {
			t.Fatal(err)
		}
		log.Info("one")
		log.Warn("two")
		log.Error("three", "sender", "a\n<0>b")
	}
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	var begin []string
	for line := range strings.Lines(string(text)) {
		begin = append(begin, line[:3])
	}
	if got := strings.Join(begin, " "); got != "tim tim tim tim tim tim <6> <4> <3>" {
		t.Errorf("the lines begin with %s:\n%s", got, text)
	}
}
