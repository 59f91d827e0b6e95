package cli

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Width is how many columns a terminal has; 0 where the output is none, or does not say.
func Width(w io.Writer) int {
	f, ok := Raw(w).(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}
