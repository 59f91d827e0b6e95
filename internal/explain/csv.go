package explain

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"

	"signpost/internal/cluster/messages"
	"signpost/internal/term"
)

// CSV writes messages as CSV (RFC 4180), with a line of column names, which are the words of the log. Times have the offset of the local time
// zone.
type CSV struct {
	w     *csv.Writer
	hosts bool
}

// NewCSV returns a CSV, and writes the line of column names. If hosts is true, the first column is the host.
func NewCSV(w io.Writer, hosts bool) *CSV {
	c := &CSV{csv.NewWriter(w), hosts}
	c.write("host", []string{"time", "queue_id", "client", "action", "code", "role", "header_from", "from_addresses", "mail_from", "login", "rcpts", "rcpt_count",
		"spf", "dkim", "dmarc", "arc", "selectors", "message_id", "reason"})
	return c
}

// write writes a row. An error is returned by Write.
func (c *CSV) write(host string, row []string) {
	if c.hosts {
		row = append([]string{host}, row...)
	}
	_ = c.w.Write(term.Spreadsheet(row))
}

// Write writes messages.
func (c *CSV) Write(all []messages.Message) error {
	for i := range all {
		e := &all[i].Entry
		o, action, reason, count := e.Outcome(), string(e.Decided()), "", ""
		if e.Observe {
			action = "(" + action + ")"
		}
		if !e.Code.Plain() {
			reason = strings.Join(strings.Fields(Why(&e.Record)), " ")
		}
		if e.Addressees > 0 {
			count = strconv.Itoa(e.Addressees)
		}
		c.write(all[i].Host, []string{e.Time.Local().Format(time.RFC3339), e.QueueID, e.Addr(), action, string(e.Code), string(e.Role),
			strings.Join(e.Author.Domains, " "), strings.Join(e.Author.Addresses, " "), e.Sender, e.Login, strings.Join(e.Recipients, " "), count, o.SPF, o.DKIM, o.DMARC, o.ARC,
			strings.Join(e.Selectors, " "), e.MessageID, reason})
	}
	c.w.Flush()
	return c.w.Error()
}
