package explain

import (
	"fmt"
	"io"
	"strings"

	"signpost/internal/term"
)

const (
	// labelWidth is the width of the column of labels.
	labelWidth = 12
	// leastText is the least room for a text: a narrower terminal breaks the lines itself.
	leastText = 20
)

// writeRows writes rows, with their texts in a column. It breaks the lines, so that a long untrusted text cannot continue at the
// beginning of a line, where our own words are.
func writeRows(w io.Writer, rows []Row) {
	paint := term.Paint(w)
	room := term.LineWidth
	if width, _ := term.Size(w); width > 0 {
		room = min(room, width)
	}
	room = max(room-labelWidth-1, leastText)
	for _, r := range rows {
		label := r.Label
		for i, line := range term.Break(term.Printable(r.Text), room) {
			if word, rest, _ := strings.Cut(line, " "); i == 0 && methodLabel(label) {
				line = strings.TrimSuffix(paint.Status(word)+" "+rest, " ")
			}
			fmt.Fprintf(w, "%-*s %s\n", labelWidth, label, line)
			label = ""
		}
	}
}

func methodLabel(label string) bool {
	return label == "SPF" || label == "DKIM" || label == "ARC" || label == "DMARC"
}
