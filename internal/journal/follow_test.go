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

// A Follower whose filter rarely matches does not read the same entries at each poll.
func TestFollowContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal", "journal.db")
	keep := func(from, to int) {
		j := Open(Options{Path: path, Limits: Limits{Keep: 24 * time.Hour, MaxSize: 64 << 20, Addresses: Full}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		for i := from; i < to; i++ {
			r := sample(i)
			r.Login = "other"
			if i == 7 {
				r.Login = "wanted"
			}
			j.Add(r)
		}
		j.Close()
	}
	keep(0, 5)
	filter, err := (&Query{Login: "wanted"}).Filter(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	f := &Follower{Path: path, Open: func() (*Reader, error) { return OpenReader(path) }, Filter: filter,
		Report: func(err error, _ bool) { t.Error(err) }, Show: func(all []Entry) error {
			shown += len(all)
			return nil
		}}
	defer f.close()
	for _, step := range [][2]int{{5, 7}, {7, 9}, {9, 10}} {
		if err := f.more(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, newest, err := f.reader.Covers(t.Context())
		if err != nil || f.Filter.After != newest.UnixMicro() {
			t.Errorf("after a poll, it continues at %d, want %d; %v", f.Filter.After, newest.UnixMicro(), err)
		}
		keep(step[0], step[1])
	}
	if err := f.more(t.Context()); err != nil || shown != 1 {
		t.Errorf("%d messages, want 1; %v", shown, err)
	}
}
