package doctor

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/hbollon/go-edlib"
)

// Printable returns f with texts that cannot control a terminal. Only line feeds are kept.
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
			if c >= ' ' && c <= '~' || c == '\n' {
				b.WriteByte(c)
			} else {
				b.WriteString(`\x` + strconv.FormatUint(uint64(c)|0x100, 16)[1:])
			}
		}
		*text = b.String()
	}
	return f
}

// Quote returns s as one word for sh(1).
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// maxWord bounds the words that Nearest compares.
const maxWord = 32

// Nearest returns the word that was most likely meant, or an empty string if none is similar.
func Nearest(word string, words ...string) string {
	word = strings.ToLower(word)
	if len(word) > maxWord {
		return ""
	}
	best, least := "", 3
	for _, w := range words {
		if n := edlib.OSADamerauLevenshteinDistance(word, w); n < least && n < len(w) {
			best, least = w, n
		} else if len(word) > 2 && strings.HasPrefix(w, word) {
			return w
		}
	}
	return best
}

// Join returns the texts of all items, with a separator between them.
func Join[T any](all []T, separator string, text func(T) string) string {
	var texts []string
	for _, item := range all {
		texts = append(texts, text(item))
	}
	return strings.Join(texts, separator)
}

// OrNotPermitted returns f, the finding about an error of access, unless the error is that this process has no permission. The finding
// then names the user as whom to run doctor.
func OrNotPermitted(err error, f Finding) Finding {
	if !errors.Is(err, fs.ErrPermission) {
		return f
	}
	return Finding{Level: Yellow, What: "permission denied: user " + UserName(uint32(os.Geteuid())) + " has no right to check this; run doctor as root", Where: err.Error(),
		Why: "whether it is right is not known", Fix: "sudo signpost doctor"}
}

// RunsSystemd reports whether systemd is the service manager, as sd_booted(3) does.
func RunsSystemd() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}
