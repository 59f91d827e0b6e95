// Package top is the display of signpost top: rates, results, the sources of failing mail, DNS lookups and keys of the last minutes. It
// reads the journal and the metadata of the keys. Only the number of lost messages comes from the metrics of the daemon.
package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"signpost/internal/journal"
	"signpost/internal/term"
	"signpost/keys"
)

// Source has the sources of the display.
type Source struct {
	File     string                                     // of the journal
	Disabled bool                                       // journal.enabled is false
	Open     func() (*journal.Reader, error)            // called for each read: the daemon may have replaced the journal
	Keys     func(now time.Time) ([]keys.Status, error) // the status of all keys
	Metrics  string                                     // address of the daemon's metrics; empty: there are none
}

const (
	// refresh is the time between frames. The constant sourcesEvery is the time between reads of the sources of failing mail, which
	// take longer.
	refresh      = 2 * time.Second
	sourcesEvery = 10 * time.Second
)

// Run draws frames until ctx ends or the user presses q. If out is not a terminal, it prints one frame. It reads the keyboard from in,
// which may be nil. It returns an error if the first read of the journal fails, or the terminal cannot be written.
func Run(ctx context.Context, s Source, in *os.File, out io.Writer) (err error) {
	w := &watch{Source: s}
	// Read the journal before the terminal is changed, because the first read may fail.
	if err := w.look(ctx, time.Now()); err != nil {
		return err
	}
	screen := term.NewScreen(in, out)
	if screen == nil {
		for _, l := range w.frame(time.Now(), term.LineWidth, 0, term.Paint(out)) {
			if _, err := fmt.Fprintln(out, l.Text); err != nil {
				return err
			}
		}
		return nil
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	resized, stopped := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	signal.Notify(stopped, syscall.SIGTSTP)
	defer signal.Stop(stopped)
	defer func() { err = errors.Join(err, screen.Leave()) }()
	if err := screen.Enter(); err != nil {
		return err
	}
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	paused := make(chan struct{}, 1)
	go screen.Keys(func(key byte) bool {
		switch key {
		case 'q', 'Q', 3, 4: // ^C, ^D
			quit()
			return false
		case 26: // ^Z
			select {
			case paused <- struct{}{}:
			default:
			}
		}
		return true
	})
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for {
		columns, height := screen.Size()
		if err := screen.Draw(w.frame(time.Now(), columns, height, term.Paint(out)), columns, height); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-resized:
		case <-paused:
			err = screen.Pause(ctx)
		case <-stopped:
			err = screen.Pause(ctx)
		case <-tick.C:
			if err := w.look(ctx, time.Now()); err != nil && ctx.Err() == nil {
				w.trouble = err.Error() // the next read opens the journal again
			}
		}
		if err != nil {
			return err
		}
	}
}
