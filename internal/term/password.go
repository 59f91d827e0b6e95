package term

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// ErrNoTerminal is the error of Password if in is not a terminal.
var ErrNoTerminal = errors.New("standard input is not a terminal")

// Password asks for a password on a terminal, without showing it. If ctx ends, for example after Ctrl-C, it restores the terminal and
// returns the error of ctx.
func Password(ctx context.Context, in io.Reader, out io.Writer, prompt string) (string, error) {
	f, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", ErrNoTerminal
	}
	state, err := term.GetState(int(f.Fd()))
	if err != nil {
		return "", err
	}
	fmt.Fprint(out, prompt)
	defer fmt.Fprintln(out)
	var b []byte
	read := make(chan error, 1)
	go func() { // ends with the line, or with the program
		line, err := term.ReadPassword(int(f.Fd()))
		b = line
		read <- err
	}()
	select {
	case err := <-read:
		return string(b), err
	case <-ctx.Done():
		return "", errors.Join(ctx.Err(), term.Restore(int(f.Fd()), state))
	}
}
