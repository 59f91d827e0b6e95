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
			"clients with the most failing mail of the last hour, slow and failing DNS, and what comes next for the keys. It fits\n" +
			"itself to the window. How many messages the journal lost, and whether it runs, the daemon says where metrics.listen is\n" +
			"set. q or ^C ends it. Without a terminal, and where TERM is dumb, it prints once.",
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
	// Before the terminal is touched: the first look may fail.
	if err := w.look(ctx, time.Now()); err != nil {
		return err
	}
	screen, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(screen.Fd())) || os.Getenv("TERM") == "dumb" {
		for _, l := range w.frame(time.Now(), lineWidth, 0, cli.Paint(out)) {
			if _, err := fmt.Fprintln(out, l.text); err != nil {
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
	t := &topTerminal{in: in, screen: screen}
	defer func() { err = errors.Join(err, t.leave()) }()
	if err := t.enter(); err != nil {
		return err
	}
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	paused := make(chan struct{}, 1)
	if t.in != nil {
		go awaitKeys(t.in, enough, paused)
	}
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
		case <-paused:
			err = t.pause(ctx)
		case <-stopped:
			err = t.pause(ctx)
		case <-tick.C:
			if err := w.look(ctx, time.Now()); err != nil && ctx.Err() == nil {
				w.trouble = err.Error() // a journal that is begun anew is there again at the next look
			}
		}
		if err != nil {
			return err
		}
	}
}

// awaitKeys reads keys. Raw mode makes ^C, ^D and ^Z keys like any other.
func awaitKeys(in *os.File, enough func(), paused chan<- struct{}) {
	var key [1]byte
	for {
		if n, err := in.Read(key[:]); n == 0 || err != nil {
			return
		}
		switch key[0] {
		case 'q', 'Q', 3, 4:
			enough()
			return
		case 26:
			select {
			case paused <- struct{}{}:
			default:
			}
		}
	}
}

// topTerminal is a terminal that top has for itself between enter and leave.
type topTerminal struct {
	in, screen *os.File // in: nil where nobody can press a key
	was        *term.State
}

func (t *topTerminal) enter() (err error) {
	if t.in != nil && !term.IsTerminal(int(t.in.Fd())) {
		t.in = nil
	}
	if t.in != nil {
		if t.was, err = term.MakeRaw(int(t.in.Fd())); err != nil {
			return err
		}
	}
	_, err = io.WriteString(t.screen, enterScreen)
	return err
}

// leave makes the terminal what it was.
func (t *topTerminal) leave() (err error) {
	_, err = io.WriteString(t.screen, leaveScreen)
	if t.was != nil {
		err = errors.Join(err, term.Restore(int(t.in.Fd()), t.was))
	}
	return err
}

// pause is ^Z: the shell has the terminal until it says fg. Threads of ours may go on for a moment after the kill.
func (t *topTerminal) pause(ctx context.Context) error {
	if err := t.leave(); err != nil {
		return err
	}
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGCONT)
	defer signal.Stop(again)
	if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
		return err
	}
	select {
	case <-again:
	case <-ctx.Done():
	}
	return t.enter()
}

// draw shows what fits. Each line is cut, so that none goes on in the next one, and ends by itself: in raw mode \n does not
// lead to the beginning. What a line leaves of the one before is cleared behind it, not before, so that nothing flickers; a
// full line leaves nothing, and the cursor then still stands on its last sign.
func (w *watch) draw(screen *os.File) error {
	width, height, err := term.GetSize(int(screen.Fd()))
	if err != nil || width < 1 || height < 1 {
		width, height = 80, 24
	}
	var b strings.Builder
	b.WriteString(homeCursor)
	lines := w.frame(time.Now(), width, height, cli.Paint(screen))
	for i, l := range lines {
		b.WriteString(l.text)
		if l.columns < width {
			b.WriteString(clearLine)
		}
		if i < len(lines)-1 {
			b.WriteString("\r\n")
		}
	}
	if len(lines) < height {
		b.WriteString("\r\n" + clearBelow)
	}
	_, err = io.WriteString(screen, b.String())
	return err
}
