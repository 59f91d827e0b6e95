package term

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"
)

// These control sequences of the terminal switch to the alternate screen without a cursor, and back.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	homeCursor  = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// Screen is a terminal that a program uses exclusively between Enter and Leave.
type Screen struct {
	in, out *os.File // in is nil if the input is not a terminal
	state   *term.State
}

// NewScreen returns the Screen of a terminal, or nil if out is not a terminal that understands control sequences. Keys are read from
// in, which may be nil or not a terminal.
func NewScreen(in *os.File, out io.Writer) *Screen {
	screen, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(screen.Fd())) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	if in != nil && !term.IsTerminal(int(in.Fd())) {
		in = nil
	}
	return &Screen{in: in, out: screen}
}

// Enter takes over the terminal. Raw mode makes ^C, ^D and ^Z keys like any other.
func (s *Screen) Enter() (err error) {
	if s.in != nil {
		if s.state, err = term.MakeRaw(int(s.in.Fd())); err != nil {
			return err
		}
	}
	_, err = io.WriteString(s.out, enterScreen)
	return err
}

// Leave restores the terminal.
func (s *Screen) Leave() (err error) {
	_, err = io.WriteString(s.out, leaveScreen)
	if s.state != nil {
		err = errors.Join(err, term.Restore(int(s.in.Fd()), s.state))
	}
	return err
}

// Keys reads keys until an error occurs or the function key returns false.
func (s *Screen) Keys(key func(byte) bool) {
	var b [1]byte
	for s.in != nil {
		if n, err := s.in.Read(b[:]); n == 0 || err != nil || !key(b[0]) {
			return
		}
	}
}

// Pause stops the process until the shell continues it with fg, as ^Z does. It waits for SIGCONT, because threads may run for a moment
// after the kill.
func (s *Screen) Pause(ctx context.Context) error {
	if err := s.Leave(); err != nil {
		return err
	}
	resumed := make(chan os.Signal, 1)
	signal.Notify(resumed, syscall.SIGCONT)
	defer signal.Stop(resumed)
	if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
		return err
	}
	select {
	case <-resumed:
	case <-ctx.Done():
	}
	return s.Enter()
}

// Size returns the size of the window, or a default if the size is not known.
func (s *Screen) Size() (columns, lines int) {
	if columns, lines = Size(s.out); columns < 1 || lines < 1 {
		return 80, 24
	}
	return columns, lines
}

// Draw writes lines that fit a window of this size. It ends them with CR LF, because the terminal is in raw mode. To avoid flicker, it
// writes the new line first and then clears the rest of the old one. After a full line it clears nothing, because the cursor is still
// on the last character.
func (s *Screen) Draw(lines []Line, columns, height int) error {
	var b strings.Builder
	b.WriteString(homeCursor)
	for i, l := range lines {
		b.WriteString(l.Text)
		if l.Columns < columns {
			b.WriteString(clearLine)
		}
		if i < len(lines)-1 {
			b.WriteString("\r\n")
		}
	}
	if len(lines) < height {
		b.WriteString("\r\n" + clearBelow)
	}
	_, err := io.WriteString(s.out, b.String())
	return err
}
