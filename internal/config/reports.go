package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// ReportsDir returns the directory of the state of reports.
func (c *Config) ReportsDir() string { return filepath.Join(c.StateDir, "reports") }

// ReceivedUnread returns the directory of the newest received reports that could not be read.
func (c *Config) ReceivedUnread() string { return filepath.Join(c.ReportsDir(), "unread") }

// ReceivedFile returns the database of received reports.
func (c *Config) ReceivedFile() string { return filepath.Join(c.ReportsDir(), "received.db") }

// ReceivedStatus returns the file with the status.Received of the last run of signpost reports read. It has a directory of its own, because
// the daemon may not read the databases.
func (c *Config) ReceivedStatus() string {
	return filepath.Join(c.ReportsDir(), "status", "received.json")
}

// ReportsDomain returns the domain of reports.send.from, which is also the domain of the envelope sender of reports. It is empty if from
// is not set.
func (c *Config) ReportsDomain() string {
	_, domain, _ := strings.Cut(c.Reports.Send.From, "@")
	return domain
}

// ReportAddresses returns the addresses of our own reports, except the bounce addresses, and the addresses of received reports. Mail to them
// never causes a report.
func (c *Config) ReportAddresses() (all []string) {
	for _, address := range []string{c.Reports.Send.From, c.Reports.Send.Contact} {
		if address != "" {
			all = append(all, address)
		}
	}
	return append(all, c.Reports.Receive.Addresses...)
}

// reportsKeep is the minimum of journal.keep with reports: a report of a day is computed during the next day.
const reportsKeep = 48 * time.Hour

// sending checks what reports.send.enabled requires.
func (p *reader) sending() {
	const key = "reports.send.enabled"
	switch c := p.config; {
	case !c.Reports.Send.Enabled:
	case c.Reports.Send.From == "":
		p.fault(key, "requires reports.send.from, like \"dmarc@reports.example.org\"")
	case c.Reports.Send.OrgName == "":
		p.fault(key, "requires reports.send.org_name, the name of your organization")
	case c.Reports.SMTP == "":
		p.fault(key, "requires reports.smtp")
	case !c.Journal.Enabled:
		p.fault(key, "requires the journal: reports are computed from it; set journal.enabled = true")
	case c.Journal.Keep < reportsKeep:
		p.fault(key, "requires journal.keep = \"48h\" or more: a report is computed after its day has ended")
	}
}

// mailbox reads an email address of ASCII characters without quotes, or an empty string. It converts the domain to lower-case A-labels.
func mailbox(to *string, v any) error {
	var s string
	if err := text(&s, v); err != nil || s == "" {
		*to = s
		return err
	}
	local, name, _ := strings.Cut(s, "@")
	d, err := domainName(name)
	allowed := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-/=?^_`{|}~.", r)
	}
	dots := strings.HasPrefix(local, ".") || strings.HasSuffix(local, ".") || strings.Contains(local, "..")
	if err != nil || dots || local == "" || len(local) > 64 || strings.ContainsFunc(local, func(r rune) bool { return !allowed(r) }) {
		return fmt.Errorf("%q is not an email address; write an address like \"dmarc@reports.example.org\"", s)
	}
	*to = local + "@" + d
	return nil
}

// reportAddresses reads a list of email addresses, and converts them to lower case.
func reportAddresses(to *[]string, v any) error {
	return list(to, v, func(s string) (string, error) {
		var address string
		if err := mailbox(&address, s); err != nil {
			return "", err
		}
		if address == "" {
			return "", errors.New("contains an empty address")
		}
		return strings.ToLower(address), nil
	})
}

func number(to *int, v any, least, most int) error {
	n, ok := v.(int64)
	if !ok {
		return errors.New("must be a number without quotes")
	}
	if n < int64(least) || n > int64(most) {
		return fmt.Errorf("%d is out of range; must be %d to %d", n, least, most)
	}
	*to = int(n)
	return nil
}
