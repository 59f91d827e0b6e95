package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"signpost/internal/journal"
	"signpost/internal/testdns"
	"signpost/internal/testmilter"
)

// journaled is the released daemon, confined, with its journal in a separate file system.
type journaled struct {
	*program
	t          *testing.T
	journalDir string
	file       string
	text       string // the configuration
	mta        *testmilter.MTA
}

func startJournaled(t *testing.T, command string, flags uintptr) *journaled {
	t.Helper()
	server, err := testdns.Start("example.com. 60 IN TXT \"v=spf1 -all\"\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	dir := t.TempDir()
	j := &journaled{t: t, journalDir: filepath.Join(dir, "state", "journal")}
	j.file = filepath.Join(j.journalDir, "journal.db")
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "state", "keys"), 0o700), os.MkdirAll(j.journalDir, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", j.journalDir, "tmpfs", flags, "size=4m,mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(j.journalDir, unix.MNT_DETACH) })
	j.text = fmt.Sprintf("[dns]\nservers = [%q]\n[metrics]\nlisten = \"127.0.0.1:0\"\n[journal]\naddresses = \"full\"\n", server.Addr())
	j.program = startProgram(t, dir, j.text, exec.Command(command))
	j.says("msg=confined")
	j.connect()
	return j
}

func (j *journaled) connect() {
	j.mta = testmilter.Dial(j.t, "unix", j.socket)
	j.mta.ConnectFrom(netip.MustParseAddr("192.0.2.1"), "helo.example")
}

// mail sends messages. Each message must be verified as usual, whatever happens to the journal.
func (j *journaled) mail(n int) {
	j.t.Helper()
	for range n {
		if replies := strings.Join(j.mta.Message("ann@example.com", "From\x00 ann@example.com\x00"), "\n"); !strings.Contains(replies, "spf=fail") || !strings.HasSuffix(replies, "c") {
			j.t.Fatalf("%q\n%s", replies, j.log)
		}
	}
}

// kept returns the number of messages that can be read from the journal, or -1 if it cannot be read.
func (j *journaled) kept() (n int) {
	r, err := journal.OpenReader(j.file)
	if err != nil {
		return -1
	}
	defer r.Close()
	if err := r.Each(j.t.Context(), journal.Filter{}, func(*journal.Entry) bool { n++; return true }); err != nil {
		return -1
	}
	return n
}

// lost returns the number of messages that the daemon counted as missing from the journal.
func (j *journaled) lost() int {
	at := regexp.MustCompile(`metrics server started" listen=(\S+)`).FindAllStringSubmatch(j.log.String(), -1)
	_, scrape := get(j.t, "http://"+at[len(at)-1][1]+"/metrics")
	total := 0
	for _, cause := range regexp.MustCompile(`(?m)^signpost_journal_lost_total\{cause="\w+"\} (\d+)$`).FindAllStringSubmatch(scrape, -1) {
		n, err := strconv.Atoi(cause[1])
		if err != nil {
			j.t.Error(err)
		}
		total += n
	}
	return total
}

// again sends messages until one more message is in the journal.
func (j *journaled) again(before int) {
	j.t.Helper()
	j.until("the journal continues", func() bool { j.mail(1); return j.kept() > before })
}

// Faults of the journal's disk, directory and file do not affect verification. Messages that cannot be recorded are counted and logged.
// The daemon resumes the journal as soon as it can.
func TestJournalFaults(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the journal's disk is a tmpfs, and mounting one needs root")
	}
	command := built(t)
	for name, test := range map[string]func(t *testing.T, command string){
		"disk full": journalDiskFull, "read-only": journalReadOnly, "deleted": journalDeleted, "overwritten": journalOverwritten,
		"state_dir removed": journalStateRemoved, "killed": journalKilled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, command)
		})
	}
}

func journalDiskFull(t *testing.T, command string) {
	j := startJournaled(t, command, 0)
	j.mail(5)
	j.until("five messages are in the journal", func() bool { return j.kept() == 5 })
	ballast := filepath.Join(j.journalDir, "ballast")
	f, err := os.Create(ballast)
	for b := make([]byte, 4<<10); err == nil; {
		_, err = f.Write(b)
	}
	if f.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	j.until("a message is counted as lost", func() bool { j.mail(5); return j.lost() > 0 })
	j.says("disk is full")
	if n := j.kept(); n < 5 {
		t.Errorf("%d are left of five", n)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	j.again(j.kept())
	j.stop()
	j.says("messages are missing from the journal; mail was not affected")
}

func journalReadOnly(t *testing.T, command string) {
	j := startJournaled(t, command, unix.MS_RDONLY)
	j.until("a message is counted as lost", func() bool { j.mail(1); return j.lost() > 0 })
	j.says("the journal cannot be written; mail continues without it")
	if err := unix.Mount("", j.journalDir, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	j.again(0)
}

func journalDeleted(t *testing.T, command string) {
	j := startJournaled(t, command, 0)
	j.mail(5)
	j.until("five messages are in the journal", func() bool { return j.kept() == 5 })
	all, err := filepath.Glob(filepath.Join(j.journalDir, "*"))
	for _, name := range all {
		err = errors.Join(err, os.Remove(name))
	}
	if err != nil {
		t.Fatal(err)
	}
	j.again(0)
	j.says("the journal was deleted or replaced; a new one is created")
}

// SQLite keeps pages in memory and does not read them again. The daemon therefore detects the damage at its next start.
func journalOverwritten(t *testing.T, command string) {
	j := startJournaled(t, command, 0)
	j.mail(5)
	j.until("five messages are in the journal", func() bool { return j.kept() == 5 })
	f, err := os.OpenFile(j.file, os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt([]byte(strings.Repeat("no database", 20_000)), 0)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	j.mail(5)
	j.stop()
	if err := os.WriteFile(j.file, []byte(strings.Repeat("no database", 20_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	j.program = startProgram(t, j.dir, j.text, exec.Command(command))
	j.connect()
	j.again(0)
	j.says("the journal is damaged; it is renamed and a new one is created")
}

// If the whole state_dir is deleted, the confined daemon cannot create a new journal.
func journalStateRemoved(t *testing.T, command string) {
	j := startJournaled(t, command, 0)
	j.mail(5)
	if err := errors.Join(unix.Unmount(j.journalDir, unix.MNT_DETACH), os.RemoveAll(filepath.Join(j.dir, "state"))); err != nil {
		t.Fatal(err)
	}
	j.until("a message is counted as lost", func() bool { j.mail(1); return j.lost() > 0 })
	j.says("the journal cannot be written; mail continues without it")
	j.mail(5)
}

// After a kill under load, the restarted daemon continues with the existing journal. It logs that the last messages may be missing.
func journalKilled(t *testing.T, command string) {
	j := startJournaled(t, command, 0)
	for range 3 {
		j.mail(100)
		j.until("some messages are in the journal", func() bool { return j.kept() > 0 })
		before := j.kept()
		j.mail(20)
		j.kill()
		j.program = startProgram(t, j.dir, j.text, exec.Command(command))
		j.connect()
		j.says("the journal was not closed cleanly")
		j.again(before - 1)
	}
	if n := j.lost(); n != 0 {
		t.Errorf("%d messages are counted as lost", n)
	}
}
