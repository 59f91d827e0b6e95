package filter

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/domain"
	"signpost/internal/report/read"
	"signpost/internal/spool"
	"signpost/policy"
)

// Reports are what the filter does with reports that others send about our domains: it keeps a copy of each report whose reporter is
// authenticated. Apart from discard, such mail is treated like all other mail.
type Reports struct {
	Addresses []string // to which others send reports; lower case, the domains as A-labels
	Delimiter string   // recipient_delimiter
	Create    func() (*spool.Draft, error)
	// Lost is called if the copy of a message is not kept, or was not begun, because of an error. It may be called from many goroutines.
	Lost func(error)

	reading sync.Mutex // one copy is read back at a time: a part of it may have a header of 10 MiB
}

// report is a message to a report address, and its copy.
type report struct {
	address string       // of Reports.Addresses
	only    bool         // all recipients are in Reports.Addresses
	copy    *spool.Draft // nil after an error of Create
	err     error        // the first error of the copy
	stop    func() bool  // stops the abort at the end of the message
}

// find returns the address of Addresses to which mail to a recipient belongs, or "". An address of Addresses may have an extension itself.
func (r *Reports) find(recipient string) string {
	at := strings.LastIndexByte(recipient, '@')
	if at < 0 || at > maxLocal {
		return "" // it may have been cut
	}
	local, name := strings.ToLower(recipient[:at]), domain.Fold(recipient[at+1:])
	if inner, quoted := strings.CutPrefix(local, `"`); quoted {
		local = strings.TrimSuffix(inner, `"`)
	}
	whole := local + "@" + name
	if slices.Contains(r.Addresses, whole) {
		return whole
	}
	if i := strings.IndexAny(local, r.Delimiter); i > 0 && slices.Contains(r.Addresses, local[:i]+"@"+name) {
		return local[:i] + "@" + name
	}
	return ""
}

// newReport starts the copy of a message, or returns nil if the message cannot be a report, or is not to a report address. The fields are
// those of a message that is verified.
func (m *message) newReport() *report {
	f, e := m.filter.Reports, &m.evidence.Envelope
	if f == nil || !m.verifying() || m.assignment.ResultsOnly {
		return nil
	}
	r := &report{only: len(e.Recipients) == e.Addressees}
	for _, recipient := range e.Recipients {
		address := f.find(recipient)
		r.only = r.only && address != ""
		if r.address == "" {
			r.address = address
		}
	}
	if r.address == "" || !read.Possible(value(m.fields, "Content-Type"), value(m.fields, "Content-Disposition")) {
		return nil
	}
	if r.copy, r.err = f.Create(); r.err != nil {
		f.Lost(r.err)
		return r
	}
	// Without this, the copy of a message that the client aborts would stay.
	r.stop = context.AfterFunc(m.ctx, r.copy.Abort)
	for _, field := range m.fields {
		r.add([]byte(field.Name + ":" + field.Value + "\r\n"))
	}
	r.add([]byte("\r\n"))
	return r
}

// value returns the value of the first field with a name.
func value(fields []dkim.Field, name string) string {
	for _, f := range fields {
		if strings.EqualFold(strings.TrimRight(f.Name, " \t"), name) {
			return f.Value
		}
	}
	return ""
}

// add adds the next part of the message to the copy. After an error, the copy is deleted.
func (r *report) add(p []byte) {
	if r.err != nil {
		return
	}
	if _, r.err = r.copy.Write(p); r.err != nil {
		r.copy.Abort()
	}
}

// arrived ends the writing of the copy.
func (r *report) arrived() {
	if r != nil && r.copy != nil {
		r.copy.Arrived() // before the wait for DNS
	}
}

// finishReport keeps the copy of a message whose reporter is authenticated. The copy is on disk before the answer. Rejected mail is not
// kept, and neither is mail that the recipients do not get at once.
func (m *message) finishReport() {
	r := m.report
	if r == nil {
		return
	}
	if r.copy != nil {
		defer func() {
			r.stop()
			r.copy.Abort()
		}()
	}
	if m.verdict.Action != policy.Accept && m.verdict.Action != policy.Tag {
		return
	}
	found := &policy.ReceivedReport{Copy: policy.ReportUnauthenticated, Reporter: reporter(m.evidence.DMARC), TLSReporter: tlsReporter(&m.evidence), OnlyReportAddresses: r.only}
	if found.Reporter == "" && found.TLSReporter == "" {
		m.evidence.Report = found
		return
	}
	if r.err == nil {
		kind, possible := m.recognize()
		if !possible {
			return
		}
		found.Kind = policy.ReportKind(kind)
	}
	m.evidence.Report = found
	if found.Reporter == "" && found.Kind != policy.TLSReport && found.Kind != "" {
		return
	}
	if r.err == nil {
		r.err = m.commit(found)
	}
	if found.Copy = copyOf(r.err); found.Copy != policy.ReportKept && r.copy != nil {
		m.filter.Reports.Lost(r.err)
	}
}

// recognize looks at the form of the copy.
func (m *message) recognize() (kind read.Kind, possible bool) {
	f := m.filter.Reports
	f.reading.Lock()
	defer f.reading.Unlock()
	m.report.err = m.report.copy.Read(func(text io.Reader) { kind, possible = read.Recognize(text) })
	return kind, possible || m.report.err != nil
}

// copyOf returns the state of a copy after an error, or nil.
func copyOf(err error) policy.ReportCopy {
	switch {
	case err == nil:
		return policy.ReportKept
	case errors.Is(err, spool.ErrLarge):
		return policy.ReportTooLarge
	case errors.Is(err, spool.ErrFull), errors.Is(err, spool.ErrBusy):
		return policy.ReportOverLimit
	}
	return policy.ReportFailed
}

// commit makes the copy durable.
func (m *message) commit(found *policy.ReceivedReport) error {
	line, err := json.Marshal(read.Arrived{QueueID: m.evidence.QueueID, Received: m.filter.Now().UTC().Truncate(time.Second),
		Recipient: m.report.address, Reporter: found.Reporter, TLSReporter: found.TLSReporter})
	if err != nil {
		return err
	}
	return m.report.copy.Commit(line)
}

// reporter returns the domain that DMARC authenticates, or "".
func reporter(authors []dmarc.Result) string {
	if len(authors) != 1 || authors[0].Status != dmarc.Pass || authors[0].Aligned == nil {
		return ""
	}
	if a := authors[0].Aligned; a.Method == dmarc.DKIM {
		return a.Domain
	}
	return authors[0].Domain
}

// tlsReporter returns the domain of a signature that counts for TLS reports, or "". That of an Author Domain has priority, because a
// provider may add its own signature.
func tlsReporter(e *policy.Evidence) (found string) {
	for _, s := range e.DKIM {
		if !s.ForTLSReports {
			continue
		}
		related := func(author string) bool { return domain.Within(author, s.Domain) || domain.Within(s.Domain, author) }
		if slices.ContainsFunc(e.Author.Domains, related) {
			return s.Domain
		}
		if found == "" {
			found = s.Domain
		}
	}
	return found
}
