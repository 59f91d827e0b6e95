package e2e

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/durable"
	"signpost/internal/journal"
	"signpost/internal/lookup"
	"signpost/internal/report/received"
	"signpost/internal/spool"
	"signpost/internal/testreports"
	"signpost/keys"
)

// disk is a file system on a disk that can fail.
type disk struct {
	t          *testing.T
	image, dir string
}

func newDisk(t *testing.T) *disk {
	if os.Geteuid() != 0 {
		t.Skip("the disk is a file, and mounting it needs root")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip(err)
	}
	d := &disk{t, filepath.Join(t.TempDir(), "disk"), t.TempDir()}
	d.command("truncate", "-s", "64M", d.image)
	d.command("mkfs.ext4", "-q", "-F", d.image)
	d.mount(d.image, d.dir)
	return d
}

func (d *disk) command(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.CommandContext(d.t.Context(), name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s: %s %v", name, out, err)
	}
}

// mount mounts an image. The kernel writes by itself only after minutes.
func (d *disk) mount(image, dir string) {
	d.t.Helper()
	if out, err := exec.CommandContext(d.t.Context(), "mount", "-o", "loop,commit=300", image, dir).CombinedOutput(); err != nil {
		d.t.Skipf("mount: %s %v", out, err)
	}
	d.t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			d.t.Errorf("umount: %s %v", out, err)
		}
	})
}

// fail returns the directory as it is after a power failure at this moment: what the kernel has not written to the disk is lost.
func (d *disk) fail() string {
	d.t.Helper()
	dir := d.t.TempDir()
	d.command("cp", d.image, d.image+".after")
	d.command("mv", d.image+".after", dir+".image")
	d.mount(dir+".image", dir)
	return dir
}

// After a power failure, a key, a site key, a report and an answer of a table that were written are there. The journal is intact, and may lack
// its last messages. A file that was written without fsync is lost in this test, so the test can fail.
func TestPowerFailure(t *testing.T) {
	d := newDisk(t)
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	at := func(name string) string { return filepath.Join(d.dir, name) }
	check("a file", os.WriteFile(at("unsynced"), []byte("text"), 0o600))
	if text, _ := os.ReadFile(filepath.Join(d.fail(), "unsynced")); len(text) > 0 {
		t.Fatal("the test does not lose what is not on the disk")
	}

	store := func(dir string) keys.Store {
		return keys.Store{State: dir, Dir: filepath.Join(dir, "keys"), Now: time.Now}
	}
	usable := func(dir string) (n int) {
		set, err := store(dir).Load(nil)
		check("loading keys", err)
		for _, k := range set.All() {
			if k.Signer != nil {
				n++
			}
		}
		return n
	}
	_, err := store(d.dir).Create(keys.Options{Domain: "example.org", Algorithm: "ed25519", Publish: "manual"})
	check("creating a key", err)
	if n := usable(d.fail()); n != 1 {
		t.Errorf("%d keys after a power failure, want 1", n)
	}
	check("removing a key", store(d.dir).Remove("example.org"))
	if n := usable(d.fail()); n != 0 {
		t.Errorf("%d keys after a power failure, want that it stays removed", n)
	}

	root, err := durable.OpenDir(d.dir)
	check("opening", err)
	defer root.Close()
	draft, err := durable.NewDraft(root, "cluster.key", []byte("key"), 0o600, func(*os.File) error { return nil })
	check("writing the site key", err)
	check("creating the site key", draft.CommitNew())
	if text, err := os.ReadFile(filepath.Join(d.fail(), "cluster.key")); string(text) != "key" {
		t.Errorf("the site key is lost: %q %v", text, err)
	}

	check("creating the spool", os.Mkdir(at("spool"), 0o700))
	message, err := spool.NewIntake(spool.Dir{Path: at("spool"), Limits: spool.Reports()}).Create()
	check("creating a message", err)
	_, err = io.WriteString(message, "Subject: report\n\n")
	check("writing a message", err)
	check("committing a message", message.Commit([]byte("{}")))
	spooled, err := filepath.Glob(filepath.Join(d.fail(), "spool", "*.eml"))
	if err != nil || len(spooled) != 1 {
		t.Fatalf("the spool has %q: %v", spooled, err)
	}
	if text, err := os.ReadFile(spooled[0]); err != nil || !strings.HasSuffix(string(text), "\nSubject: report\n\n") {
		t.Errorf("the report is damaged: %q %v", text, err)
	}

	now := time.Now()
	reports, err := received.Open(t.Context(), at("reports/received.db"), true, time.Now)
	check("creating the database of reports", err)
	defer reports.Close()
	testreports.Fill(t, reports, now, "")
	month := received.Filter{Since: now.AddDate(0, -1, 0), Until: now}
	want, err := reports.Domains(t.Context(), month)
	check("reading reports", err)
	after, err := received.Open(t.Context(), filepath.Join(d.fail(), "reports/received.db"), true, time.Now)
	check("opening the database of reports", err)
	got, err := after.Domains(t.Context(), month)
	check("reading reports", err)
	after.Close()
	if len(want) == 0 || len(got) != len(want) || got[0].Messages != want[0].Messages {
		t.Errorf("after a power failure, the reports have\n%+v\nwant\n%+v", got, want)
	}

	cache := lookup.NewCache(answers{}, lookup.CacheOptions{Log: slog.New(slog.DiscardHandler)})
	_, err = cache.Lookup(t.Context(), "t:t", "example.org")
	check("looking up", err)
	check("saving answers", cache.Save(at("tables")))
	if text, err := os.ReadFile(filepath.Join(d.fail(), "tables")); !strings.Contains(string(text), "example.org") {
		t.Errorf("the answers are lost: %q %v", text, err)
	}

	j := journal.Open(journal.Options{Path: at("journal/journal.db"), Limits: journal.Limits{Keep: time.Hour * 24, MaxSize: 32 << 20, Addresses: journal.Full}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	for range 5000 {
		j.Add(&decision.Record{})
	}
	count := func(dir string) int {
		r, err := journal.OpenReader(filepath.Join(dir, "journal/journal.db"))
		check("opening the journal", err)
		defer r.Close()
		ids, err := r.IDs(t.Context(), journal.Filter{}, 10000, false)
		check("reading the journal", err)
		return len(ids)
	}
	for limit := time.Now().Add(10 * time.Second); count(d.dir) < 5000 && time.Now().Before(limit); time.Sleep(10 * time.Millisecond) {
	}
	crashed := d.fail()
	log := &strings.Builder{}
	again := journal.Open(journal.Options{Path: filepath.Join(crashed, "journal/journal.db"), Limits: journal.Limits{Keep: time.Hour * 24, MaxSize: 32 << 20, Addresses: journal.Full}, Now: time.Now, Log: slog.New(slog.NewTextHandler(log, nil))})
	again.Add(&decision.Record{})
	again.Close()
	t.Logf("after a power failure, the journal has %d of 5001 messages", count(crashed))
	if n := count(crashed); n == 0 || strings.Contains(log.String(), "damaged") {
		t.Errorf("%d messages\n%s", n, log)
	}
	j.Close()
	if n := count(d.fail()); n != 5000 {
		t.Errorf("after a stop and a power failure, the journal has %d of 5000 messages", n)
	}
}

// answers is a table that has each key.
type answers struct{}

func (answers) Lookup(context.Context, string, string) (lookup.Answer, error) {
	return lookup.Answer{Value: "x", Found: true}, nil
}
