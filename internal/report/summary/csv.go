package summary

import (
	"encoding/csv"
	"io"
	"strings"

	"signpost/internal/report/received"
	"signpost/internal/term"
)

// WriteCSV writes sources with a line of column names (RFC 4180).
func WriteCSV(w io.Writer, all []received.Source) error {
	c := csv.NewWriter(w)
	_ = c.Write([]string{"source_ip", "ptr", "owner", "messages", "passed", "failed", "dkim_aligned", "spf_aligned", "first", "last", "reporters", "header_from"}) // Flush keeps the error
	for _, s := range all {
		row := []string{s.Address.String(), s.Name, string(s.Owner), number(s.Messages), number(s.Passed), number(s.Failed), number(s.DKIM), number(s.SPF),
			day(s.First), day(s.Last), strings.Join(s.Reporters, " "), strings.Join(s.HeaderFroms, " ")}
		_ = c.Write(term.Spreadsheet(row))
	}
	c.Flush()
	return c.Error()
}
