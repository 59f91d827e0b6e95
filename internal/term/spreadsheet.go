package term

import (
	"strings"
	"unicode/utf8"
)

// Spreadsheet makes the cells of a row of a CSV file printable, and returns the row. An apostrophe precedes cells that a spreadsheet would read
// as a formula.
func Spreadsheet(row []string) []string {
	for i := range row {
		row[i] = Printable(row[i])
		if first, _ := utf8.DecodeRuneInString(row[i]); strings.ContainsRune("=+-@＝＋－＠", first) && row[i] != "" {
			row[i] = "'" + row[i]
		}
	}
	return row
}
