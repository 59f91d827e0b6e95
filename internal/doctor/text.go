package doctor

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/hbollon/go-edlib"
)

// Printable returns f without control characters, so that no text can control a terminal. It escapes all bytes except printable ASCII, line
// feeds and tabs, which become spaces.
func (f Finding) Printable() Finding {
	f.Others = slices.Clone(f.Others)
	texts := []*string{&f.What, &f.Where, &f.Why, &f.Fix, &f.Domain}
	for i := range f.Others {
		o := &f.Others[i]
		texts = append(texts, &o.Domain, &o.What, &o.Where, &o.Fix)
	}
	for _, text := range texts {
		var b strings.Builder
		for _, c := range []byte(*text) {
			switch {
			case c >= ' ' && c <= '~' || c == '\n':
				b.WriteByte(c)
			case c == '\t': // of a record or a file; a space has the same meaning
				b.WriteByte(' ')
			default:
				b.WriteString(`\x` + strconv.FormatUint(uint64(c)|0x100, 16)[1:])
			}
		}
		*text = b.String()
	}
	return f
}

// Quote returns s quoted as one word for sh(1).
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// maxWord is the maximum length of a word that Nearest compares.
const maxWord = 32

// shortWord is the maximum length of a word in which only one letter may differ. If two letters could differ, too many short words would be
// similar.
const shortWord = 4

// Nearest returns the most similar of words, or "" if none is similar.
func Nearest(word string, words ...string) string {
	word = strings.ToLower(word)
	if len(word) > maxWord {
		return ""
	}
	best, least := "", 3
	if len(word) <= shortWord {
		least = 2
	}
	for _, w := range words {
		if n := edlib.OSADamerauLevenshteinDistance(word, w); n < least && n < len(w) {
			best, least = w, n
		} else if len(word) > 2 && strings.HasPrefix(w, word) {
			return w
		}
	}
	return best
}

// Join returns the texts of all items, separated by separator.
func Join[T any](all []T, separator string, text func(T) string) string {
	var texts []string
	for _, item := range all {
		texts = append(texts, text(item))
	}
	return strings.Join(texts, separator)
}

// OrNotPermitted returns f, a finding about err. But if err means that this process has no permission, it returns a finding that asks the
// user to run doctor as root.
func OrNotPermitted(err error, f Finding) Finding {
	if !errors.Is(err, fs.ErrPermission) {
		return f
	}
	if os.Geteuid() == 0 { // the process runs as root, but acted as the owner of a directory, who has no permission
		f.Where = denied(err)
		return f
	}
	return Finding{Level: Yellow, What: "permission denied: user " + UserName(uint32(os.Geteuid())) + " cannot check this; run doctor as root", Where: denied(err),
		Why: "doctor does not know whether this is correct", Fix: "sudo signpost doctor"}
}

// denied returns the path or address and "permission denied", without Go's names of system calls.
func denied(err error) string {
	var path *fs.PathError
	var socket *net.OpError
	switch {
	case errors.As(err, &path):
		return path.Path + ": permission denied"
	case errors.As(err, &socket) && socket.Addr != nil:
		return socket.Addr.String() + ": permission denied"
	}
	return err.Error()
}

// RunsSystemd reports whether systemd is the service manager, as sd_booted(3) does.
func RunsSystemd() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}
