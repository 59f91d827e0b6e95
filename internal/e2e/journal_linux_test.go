package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"signpost/internal/journal"
	"signpost/internal/testmta"
)

// journaled is a world whose journal is in a separate file system.
type journaled struct {
	*world
	journalDir, file string
	rounds           int
	want             []outcome // the outcome of each round
}

// outcome is the result of a message, as the client and the recipient see it.
type outcome struct{ reply, results, tag string }

func newJournaled(t *testing.T) *journaled {
	w := newWorld(t, setup{zone: zone(), config: "[metrics]\nlisten = \"127.0.0.1:0\"\n[journal]\naddresses = \"full\"\n"})
	j := &journaled{world: w, journalDir: filepath.Join(w.dir, "state", "journal")}
	j.file = filepath.Join(j.journalDir, "journal.db")
	w.stop()
	if err := unix.Mount("tmpfs", j.journalDir, "tmpfs", 0, "size=8m,mode=700"); err != nil {
		t.Fatal(err, "(mounting needs root, as CI has it)")
	}
	t.Cleanup(func() { _ = unix.Unmount(j.journalDir, unix.MNT_DETACH) })
	w.start("signpost")
	j.want = j.send()
	for i, want := range []string{"dmarc=pass header.from=good.example", "", "dmarc=fail reason=", ""} {
		if got := j.want[i]; !strings.Contains(got.results, want) || (i == 2) != (got.tag != "") || (i == 1) != strings.HasPrefix(got.reply, "550 ") {
			t.Fatalf("message %d: %+v", i, got)
		}
	}
	return j
}

// posting is one message of a round.
type posting struct{ xclient, sender, author string }

// postings returns four messages: one passes, one is rejected, one is tagged, and one is signed.
func postings() []posting {
	const stranger = "ADDR=198.51.100.7 NAME=mail.stranger.example"
	return []posting{
		{"ADDR=203.0.113.9 NAME=mail.good.example", "ann@good.example", "ann@good.example"},
		{stranger, "x@stranger.example", "ann@good.example"},
		{stranger, "x@stranger.example", "ann@quarantine.example"},
		{stranger + " LOGIN=ann", "ann@example.org", "ann@example.org"},
	}
}

// post sends a message to Postfix. It returns an error if there was no reply.
func (j *journaled) post(l posting, subject string) (reply string, err error) {
	s, err := testmta.Dial(j.t.Context(), j.SMTP)
	if err != nil {
		return "", err
	}
	defer s.Close()
	if _, err := s.Expect(220); err != nil {
		return "", err
	}
	for _, line := range []string{"EHLO mail.client.example", "XCLIENT " + l.xclient, "EHLO mail.client.example", "MAIL FROM:<" + l.sender + ">", "RCPT TO:<bob@example.net>"} {
		if _, err := s.Cmd(2, line); err != nil {
			return err.Error(), nil
		}
	}
	text, err := s.Data(250, []byte("From: "+l.author+"\r\nSubject: "+subject+"\r\n\r\ntext\r\n"))
	if err != nil {
		return err.Error(), nil
	}
	return "250 " + text, nil
}

// delivered waits for the mail with the given Subject.
func (j *journaled) delivered(subject string) (mail string) {
	j.t.Helper()
	j.until("the mail "+subject+" is delivered", func() bool {
		all, err := j.Mailbox()
		if err != nil {
			j.t.Fatal(err)
		}
		i := slices.IndexFunc(all, func(m string) bool { return slices.Contains(field(m, "Subject"), subject) })
		if i >= 0 {
			mail = all[i]
		}
		return i >= 0
	})
	return mail
}

func seen(mail string) (o outcome) {
	o.results = strings.Join(field(mail, "Authentication-Results"), "\n")
	o.tag = strings.Join(field(mail, "X-Signpost-Disposition"), "\n")
	if len(field(mail, "DKIM-Signature")) > 0 {
		o.results += " signed"
	}
	return o
}

// send sends the messages of a round.
func (j *journaled) send() (all []outcome) {
	j.t.Helper()
	j.rounds++
	for i, l := range postings() {
		subject := fmt.Sprintf("%d of round %d", i, j.rounds)
		reply, err := j.post(l, subject)
		if err != nil {
			j.t.Fatal(err)
		}
		var o outcome
		if strings.HasPrefix(reply, "250 ") {
			o = seen(j.delivered(subject))
		}
		o.reply = regexp.MustCompile(`queued as \w+|\w+\)"?$`).ReplaceAllString(reply, "ID")
		all = append(all, o)
	}
	return all
}

// mail sends a round, and checks that clients and recipients get the same replies and messages as in other rounds.
func (j *journaled) mail() {
	j.t.Helper()
	if got := j.send(); !slices.Equal(got, j.want) {
		j.t.Fatalf("in round %d the outcomes are\n%+v\ninstead of\n%+v\n%s", j.rounds, got, j.want, j.daemon.log)
	}
}

// newest returns the queue ID of the newest message in the journal, or "" if none can be read.
func (j *journaled) newest() string {
	r, err := journal.OpenReader(j.file)
	if err != nil {
		return ""
	}
	defer r.Close()
	ids, err := r.IDs(j.t.Context(), journal.Filter{}, 1, false)
	if err != nil {
		return ""
	}
	all, err := r.Entries(j.t.Context(), ids)
	if err != nil || len(all) == 0 {
		return ""
	}
	return all[0].Evidence.QueueID
}

// goesOn sends messages until a new message is in the journal, and returns the queue ID of that message.
func (j *journaled) goesOn() (id string) {
	j.t.Helper()
	before := j.newest()
	var sent time.Time
	j.until("the journal has a new message", func() bool {
		if time.Since(sent) > time.Second {
			j.mail()
			sent = time.Now()
		}
		id = j.newest()
		return id != before
	})
	return id
}

// loses sends messages until a message is counted as lost and the log reports this.
func (j *journaled) loses(why string) {
	j.t.Helper()
	j.until("a message is lost", func() bool { j.mail(); return j.lost() > 0 })
	j.logged("the journal cannot be written; mail continues without it", why)
	j.logged("messages are missing from the journal; mail was not affected")
}

// lost returns the daemon's count of lost messages.
func (j *journaled) lost() int {
	j.t.Helper()
	at := regexp.MustCompile(`metrics server started" listen=(\S+)`).FindStringSubmatch(j.daemon.log.String())
	r, err := http.Get("http://" + at[1] + "/metrics")
	if err != nil {
		j.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		j.t.Fatal(err)
	}
	total := 0
	for _, cause := range regexp.MustCompile(`(?m)^signpost_journal_lost_total\{cause="\w+"\} (\d+)$`).FindAllSubmatch(text, -1) {
		n, err := strconv.Atoi(string(cause[1]))
		if err != nil {
			j.t.Fatal(err)
		}
		total += n
	}
	return total
}

// shown checks that signpost log lists messages and signpost explain explains them.
func (j *journaled) shown(ids ...string) {
	j.t.Helper()
	run := func(args ...string) string {
		out, err := exec.Command(filepath.Join(programs, "signpost"), append([]string{"-c", j.config}, args...)...).CombinedOutput()
		if err != nil {
			j.t.Errorf("signpost %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	list := run("log", "-n", "100000")
	for _, id := range ids {
		if !strings.Contains(list, id) {
			j.t.Errorf("signpost log does not have %s:\n%s", id, list)
		}
		if story := run("explain", id); !strings.Contains(story, id) || !strings.Contains(story, "MAIL FROM") {
			j.t.Errorf("signpost explain %s: %s", id, story)
		}
	}
}

// Faults of the journal have no effect on the clients and recipients of a real Postfix. Lost messages are counted and logged, and the
// journal recovers without intervention. All faults occur in one world, one after the other.
func TestJournalFaults(t *testing.T) {
	j := newJournaled(t)
	first := j.goesOn()

	// The disk is full, and later space is freed.
	ballast := filepath.Join(j.journalDir, "ballast")
	f, err := os.Create(ballast)
	for b := make([]byte, 4<<10); err == nil; {
		_, err = f.Write(b)
	}
	if f.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	j.loses("disk is full")
	j.shown(first)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	second := j.goesOn()
	j.shown(first, second)

	// The directory is read-only when the daemon starts, and becomes writable.
	remount := func(flags uintptr) {
		t.Helper()
		if err := unix.Mount("", j.journalDir, "", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	j.stop()
	remount(unix.MS_RDONLY)
	j.start("signpost")
	j.loses("read")
	j.shown(first, second)
	remount(0)
	third := j.goesOn()
	j.shown(first, second, third)

	j.killed()

	// The file is overwritten while the daemon runs, and while it is stopped.
	overwrite := func() {
		t.Helper()
		f, err := os.OpenFile(j.file, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.Write(bytes.Repeat([]byte("no database "), 2000))
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	overwrite()
	j.shown(j.goesOn())
	j.logged("the journal is damaged; it is renamed and a new one is created", "aside="+j.file+".broken")
	j.stop()
	overwrite()
	j.start("signpost")
	j.shown(j.goesOn())
	j.logged("the journal is damaged; it is renamed and a new one is created")
}

// killed kills the daemon under load and starts it again. Clients retry after a 4xx reply, and all mail is delivered.
func (j *journaled) killed() {
	j.t.Helper()
	const clients, each = 4, 15
	var all sync.WaitGroup
	accepted := make(chan string, clients*each)
	for c := range clients {
		all.Go(func() {
			for n := range each {
				subject := fmt.Sprintf("%d of client %d", n, c)
				for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) { // retries like the queue of a client
					reply, err := j.post(postings()[0], subject)
					if err == nil && strings.HasPrefix(reply, "250 ") {
						accepted <- subject
						break
					}
					if err == nil && !strings.HasPrefix(reply, "4") && !strings.Contains(reply, ": 4") || time.Now().After(deadline) {
						j.t.Errorf("%s: %q %v", subject, reply, err)
						return
					}
				}
			}
		})
	}
	j.until("a third of the messages are accepted", func() bool { return len(accepted) > clients*each/3 })
	_ = j.daemon.cmd.Process.Kill()
	<-j.daemon.done
	j.start("signpost")
	j.logged("the journal was not closed cleanly; its last messages may be missing")
	all.Wait()
	if n := len(accepted); n != clients*each {
		j.t.Fatalf("%d of %d are accepted", n, clients*each)
	}
	for range clients * each {
		subject := <-accepted
		if got := seen(j.delivered(subject)); got.results != j.want[0].results {
			j.t.Errorf("%s: %+v", subject, got)
		}
	}
	before := j.newest()
	j.shown(before, j.goesOn())
	if n := j.lost(); n != 0 {
		j.t.Errorf("%d are counted as lost", n)
	}
}
