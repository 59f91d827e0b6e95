package journal

import (
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Messages from a time when the clock was ahead are renumbered. The Follower continues after them.
func TestFollowClockPutRight(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal", "journal.db")
	keep := func(i int) {
		j := Open(Options{Path: path, Limits: Limits{Keep: 24 * time.Hour, MaxSize: 64 << 20, Addresses: Full}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		j.Add(sample(i))
		j.Close()
	}
	keep(0)
	var shown []string
	f := &Follower{Path: path, Open: func() (*Reader, error) { return OpenReader(path) }, Filter: Filter{After: time.Now().AddDate(10, 0, 0).UnixMicro()},
		Report: func(err error, _ bool) { t.Error(err) }, Show: func(all []Entry) error {
			for _, e := range all {
				shown = append(shown, e.Evidence.MessageID)
			}
			return nil
		}}
	defer f.close()
	for i := range 2 {
		if err := f.more(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			keep(1)
		}
	}
	if want := sample(1).Evidence.MessageID; !slices.Equal(shown, []string{want}) {
		t.Errorf("it showed %q, want %s", shown, want)
	}
}
