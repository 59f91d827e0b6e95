package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"signpost/internal/cli"
	"signpost/internal/config"
)

func topCommand(load func() (*config.Config, error)) *cobra.Command {
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch the mail, live: rates, results, who fails, DNS and keys",
		Long: "Watch the mail, live, from the journal: messages a minute and what became of them, results by method, the domains and\n" +
			"clients with the most failing mail of the last hour, slow and failing DNS, and what comes next for the keys. How many\n" +
			"messages the journal lost is known where metrics.listen is set. q or ^C ends it. Without a terminal it prints once.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := load()
			if err != nil {
				return err
			}
			in, _ := c.InOrStdin().(*os.File)
			return top(c.Context(), conf, in, c.OutOrStdout())
		},
	}
	return c
}

const (
	// refresh is how often the terminal is drawn anew; sourcesEvery how often what takes longer is asked.
	refresh      = 2 * time.Second
	sourcesEvery = 10 * time.Second
)

// The terminal's words: the other screen without a cursor, and back.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	homeCursor  = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// top draws until ctx ends or somebody has enough. in is nil, or no terminal, where nobody can say so.
func top(ctx context.Context, conf *config.Config, in *os.File, out io.Writer) (err error) {
	w := &watch{conf: conf}
	screen, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(screen.Fd())) {
		if err := w.look(ctx, time.Now()); err != nil {
			return err
		}
		_, err := fmt.Fprintln(out, strings.Join(w.frame(time.Now(), lineWidth, cli.Paint(out)), "\n"))
		return err
	}
	// Before the terminal is touched: the first look may fail.
	if err := w.look(ctx, time.Now()); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	if in != nil && term.IsTerminal(int(in.Fd())) {
		old, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, term.Restore(int(in.Fd()), old)) }()
		go awaitQuit(in, enough)
	}
	defer func() { _, _ = io.WriteString(screen, leaveScreen) }()
	if _, err := io.WriteString(screen, enterScreen); err != nil {
		return err
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for {
		if err := w.draw(screen); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-resized:
		case <-tick.C:
			if err := w.look(ctx, time.Now()); err != nil && ctx.Err() == nil {
				w.trouble = err.Error() // a journal that is begun anew is there again at the next look
			}
		}
	}
}

// awaitQuit reads keys. Raw mode makes ^C a key like any other.
func awaitQuit(in *os.File, enough func()) {
	var key [1]byte
	for {
		if n, err := in.Read(key[:]); n == 0 || err != nil {
			return
		}
		if key[0] == 'q' || key[0] == 'Q' || key[0] == 3 || key[0] == 4 {
			enough()
			return
		}
	}
}

// draw shows what fits. Each line is cut, so that none goes on in the next one, and ends by itself: in raw mode \n does not
// lead to the beginning.
func (w *watch) draw(screen *os.File) error {
	width, height, err := term.GetSize(int(screen.Fd()))
	if err != nil || width < 1 || height < 1 {
		width, height = 80, 24
	}
	lines := w.frame(time.Now(), width, cli.Paint(screen))
	lines = lines[:min(height, len(lines))]
	_, err = io.WriteString(screen, homeCursor+strings.Join(lines, clearLine+"\r\n")+clearLine+clearBelow)
	return err
}
