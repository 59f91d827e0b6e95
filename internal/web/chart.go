package web

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// chart is a stacked bar chart. The page also shows its numbers as a table. The texts are HTML outside the SVG. They keep their size
// when the SVG is stretched.
type chart struct {
	ID, Title     string
	Series        []series
	Rows          []row
	Bars          []bar
	Width, Height int
	Grid          string // SVG path of the line at half the height
	Most          int64  // value of the highest bar
	From, To      time.Time
	Days          bool // the bars are UTC days, shown without a time

	search func(from time.Time, series string) string // the URL of the messages of a part; nil: parts have no links
}

type series struct {
	Name, Class string
	Total       int64
}

type row struct {
	Start time.Time
	N     []int64 // for each of the series
}

type bar struct {
	Title string
	Parts []part
}

// part is a rectangle, with its position and size as SVG attributes.
type part struct{ Class, X, Y, W, H, Link string }

const (
	barWidth    = 10
	chartHeight = 100
	// gap is the space between the parts of a bar. It separates them for users who cannot distinguish the colors. It is also the
	// minimum height of a part, so that a single message among thousands is visible.
	gap = .8
)

// draw computes the bars from the rows, each of which covers the duration step. The function label returns the label of a bar.
func (c *chart) draw(step time.Duration, label func(time.Time) string) {
	c.Width, c.Height, c.Most = barWidth*len(c.Rows), chartHeight, 1
	c.Grid = fmt.Sprintf("M0 %dH%d", chartHeight/2, c.Width)
	for _, r := range c.Rows {
		var sum int64
		for i, n := range r.N {
			sum += n
			c.Series[i].Total += n
		}
		c.Most = max(c.Most, sum)
	}
	for i, r := range c.Rows {
		b := bar{}
		words := []string{}
		top := float64(chartHeight)
		for k, n := range r.N {
			if n == 0 {
				continue
			}
			high := float64(n) / float64(c.Most) * chartHeight
			drawn := max(high-gap, gap)
			b.Parts = append(b.Parts, part{Class: c.Series[k].Class, X: strconv.Itoa(i*barWidth + 1), W: strconv.Itoa(barWidth - 2), Y: short(max(0, top-drawn)), H: short(drawn), Link: c.Link(r, k)})
			top -= high
			words = append(words, fmt.Sprintf("%d %s", n, c.Series[k].Name))
		}
		if b.Title = label(r.Start) + ": " + strings.Join(words, ", "); len(words) > 0 {
			c.Bars = append(c.Bars, b)
		}
	}
	if len(c.Rows) > 0 {
		c.From, c.To = c.Rows[0].Start, c.Rows[len(c.Rows)-1].Start.Add(step)
	}
}

// Link returns the URL of the messages of a series in a row, or "".
func (c *chart) Link(r row, k int) string {
	if c.search == nil || r.N[k] == 0 {
		return ""
	}
	return c.search(r.Start, c.Series[k].Name)
}

// short formats a length with at most two decimals.
func short(f float64) string {
	return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(f, 'f', 2, 64), "0"), ".")
}
