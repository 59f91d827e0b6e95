package dns

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxShortened is the size in bytes of a shortened answer, which is what the journal stores. Two rows of this size fit a page of 4 KiB of the
// journal's database; a row of 2 KiB needs a page of its own. Policies and keys in use are shorter.
const MaxShortened = 2000

// noteRoom is the room for a note on what is missing.
const noteRoom = 64

// Shorten cuts the text of an answer, or a record, to MaxShortened bytes and marks the result: Lookup.Cut.
func Shorten(text string) string {
	if len(text) <= MaxShortened {
		return text
	}
	return cutNote(len(text)) + strings.ToValidUTF8(text[:MaxShortened-noteRoom], "")
}

// cutNote returns the note that precedes an incomplete text. The text of a complete answer never begins with a parenthesis.
func cutNote(size int) string { return fmt.Sprintf("(cut, %d bytes) ", size) }

// Cut reports whether the answer is incomplete or no longer known, so that nothing can be concluded from it. An answer that
// lacks only TXT records without a version tag is not cut.
func (l Lookup) Cut() bool { return strings.HasPrefix(l.Answer, "(") }

// shortened returns String in at most MaxShortened bytes. TXT records with a version tag come first, because policies have one.
func (a *answer) shortened() string {
	if s := a.short.Load(); s != nil {
		return *s
	}
	s := a.shorten()
	a.short.Store(&s)
	return s
}

func (a *answer) shorten() string {
	size := a.textBytes()
	if size <= MaxShortened {
		if s := a.String(); len(s) <= MaxShortened || len(a.text) == 0 {
			return Shorten(s)
		}
	}
	var all []string
	room, left, leftBytes := MaxShortened-noteRoom, 0, 0
	for _, tagged := range []bool{true, false} {
		for _, t := range a.text {
			if hasVersion(t) != tagged {
				continue
			}
			quoted := strconv.Quote(t[:min(len(t), MaxShortened)])
			switch whole := len(t) <= MaxShortened && len(quoted) <= room; {
			case whole:
				all = append(all, quoted)
				room -= len(quoted) + len(", ")
			case tagged:
				return cutNote(size) + strings.ToValidUTF8(quoted[:min(len(quoted), MaxShortened-noteRoom)], "")
			default:
				left++
				leftBytes += len(t)
			}
		}
	}
	if len(all) == 0 {
		t := a.text[0]
		return cutNote(size) + strings.ToValidUTF8(strconv.Quote(t[:min(len(t), MaxShortened)])[:MaxShortened-noteRoom], "")
	}
	return strings.Join(append(all, fmt.Sprintf("(%d more records, %d bytes)", left, leftBytes)), ", ")
}

// hasVersion reports whether a TXT record has a version tag, as SPF, DKIM and DMARC records do.
func hasVersion(record string) bool { return len(record) > 1 && strings.EqualFold(record[:2], "v=") }

func (a *answer) textBytes() (n int) {
	for _, t := range a.text {
		n += len(t)
	}
	return n
}
