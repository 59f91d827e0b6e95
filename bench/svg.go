package main

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// The picture has a panel for each cell, and a bar for each server. dkimpy-milter's bar would make the others too short, and Signpost
// without journal is measured only in one of the panels, so they have none. The colours follow the reader's light or dark theme.
const (
	pictureWidth = 820
	panelWidth   = 390
	barHeight    = 18
	barGap       = 8
	labelWidth   = 165
	valueWidth   = 60
	panelTop     = 44
	style        = `<style>
text { font: 13px system-ui, sans-serif; fill: #212529 }
.title { font-weight: 600 }
.small { font-size: 12px; fill: #495057 }
.bar { fill: #adb5bd }
.ours { fill: #0b7285 }
.bare { fill: none; stroke: #868e96; stroke-dasharray: 3 2 }
@media (prefers-color-scheme: dark) {
text { fill: #e9ecef }
.small { fill: #ced4da }
.bar { fill: #6c757d }
.ours { fill: #3bc9db }
.bare { stroke: #adb5bd }
}
</style>
`
)

// picture returns an SVG of the processor time of a message.
func (r *report) picture() string {
	var b strings.Builder
	var cells []measured
	most := 0
	for _, c := range []cell{usual(verifying, 4<<10), usual(signing, 4<<10), usual(verifying, 10<<20), usual(signing, 10<<20)} {
		for _, m := range r.cells {
			if m.cell == c {
				m.rows = slices.DeleteFunc(slices.Clone(m.rows), func(r row) bool { return r.name == dkimpyName || r.name == noJournalName })
				cells = append(cells, m)
				most = max(most, len(m.rows))
			}
		}
	}
	height := panelTop + most*(barHeight+barGap) + barGap
	total := 30 + (len(cells)+1)/2*height
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="Processor time for each message">`+"\n%s",
		pictureWidth, total, pictureWidth, total, style)
	fmt.Fprintf(&b, `<text class="title" x="10" y="20">Processor time for each message, in milliseconds: shorter is better</text>`+"\n")
	for i, m := range cells {
		panel(&b, m, 10+i%2*(panelWidth+20), 30+i/2*height)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func panel(b *strings.Builder, m measured, x, y int) {
	fmt.Fprintf(b, `<text class="small" x="%d" y="%d">%s</text>`+"\n", x, y+28, html.EscapeString(fmt.Sprintf("%s, %s, %d sessions", m.role, sizeText(m.size), m.sessions)))
	longest := 0.0
	for _, row := range m.rows {
		longest = max(longest, milliseconds(row.cpu))
	}
	for i, row := range m.rows {
		class := "bar"
		switch row.name {
		case ours:
			class = "ours"
		case bareName:
			class = "bare"
		}
		top := y + panelTop + i*(barHeight+barGap)
		width := milliseconds(row.cpu) / longest * (panelWidth - labelWidth - valueWidth)
		fmt.Fprintf(b, `<text x="%d" y="%d">%s</text>`+"\n", x, top+barHeight-5, html.EscapeString(row.name))
		fmt.Fprintf(b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d"/>`+"\n", class, x+labelWidth, top, max(width, 1), barHeight)
		fmt.Fprintf(b, `<text x="%.1f" y="%d">%.3g</text>`+"\n", float64(x+labelWidth)+width+6, top+barHeight-5, milliseconds(row.cpu))
	}
}
