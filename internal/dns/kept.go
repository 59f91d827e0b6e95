package dns

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxKept is how many bytes of an answer a record of the message keeps. Two rows of this size fit a page of 4 KiB of the
// journal's database; a row of 2 KiB needs a page of its own. Policies and keys in use are shorter.
const MaxKept = 2000

// noteRoom is the room for a note on what is missing.
const noteRoom = 64

// Shorten cuts the words of an answer, or a record, to MaxKept bytes and marks the result: Lookup.Cut.
func Shorten(text string) string {
	if len(text) <= MaxKept {
		return text
	}
	return cutNote(len(text)) + strings.ToValidUTF8(text[:MaxKept-noteRoom], "")
}

// cutNote precedes what is not whole. No record begins with a parenthesis in the words of an answer.
func cutNote(size int) string { return fmt.Sprintf("(cut, %d bytes) ", size) }

// Cut reports whether the answer is not whole, or not known any more, so that nothing can be concluded from it. An answer
// that lacks only TXT records without a version tag is not cut.
func (l Lookup) Cut() bool { return strings.HasPrefix(l.Answer, "(") }

// shortened returns String in at most MaxKept bytes. Of TXT records those with a version tag come first, since a policy is
// one of them; the rest is what else the domain publishes under its name.
func (a *answer) shortened() string {
	if s := a.kept.Load(); s != nil {
		return *s
	}
	s := a.shorten()
	a.kept.Store(&s)
	return s
}

func (a *answer) shorten() string {
	size := a.textBytes()
	if size <= MaxKept {
		if s := a.String(); len(s) <= MaxKept || len(a.text) == 0 {
			return Shorten(s)
		}
	}
	var all []string
	room, left, leftBytes := MaxKept-noteRoom, 0, 0
	for _, tagged := range []bool{true, false} {
		for _, t := range a.text {
			if hasVersion(t) != tagged {
				continue
			}
			quoted := strconv.Quote(t[:min(len(t), MaxKept)])
			switch whole := len(t) <= MaxKept && len(quoted) <= room; {
			case whole:
				all = append(all, quoted)
				room -= len(quoted) + len(", ")
			case tagged:
				return cutNote(size) + strings.ToValidUTF8(quoted[:min(len(quoted), MaxKept-noteRoom)], "")
			default:
				left++
				leftBytes += len(t)
			}
		}
	}
	if len(all) == 0 {
		t := a.text[0]
		return cutNote(size) + strings.ToValidUTF8(strconv.Quote(t[:min(len(t), MaxKept)])[:MaxKept-noteRoom], "")
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
