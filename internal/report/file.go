package report

import "time"

// Sender identifies the organization that sends a report.
type Sender struct {
	Domain    string // the receiver in the file name and the Submitter in the Subject, such as reports.mx.example.org
	OrgName   string
	Email     string // the contact
	Extra     string // extra_contact_info; may be empty
	Generator string // name and version of the program
}

// File is the attachment of a report.
type File struct {
	ID   string // the Report-ID: 26 letters and digits, the same in Name, in the Subject and in the XML
	Name string // RFC 9990 section 3.5.2
	Gzip []byte // the XML, compressed; the same bytes for the same Report and Sender
}

// ID returns the Report-ID of a report: a hash of the Sender's domain, the day and the policy, and of nothing else.
func (r *Report) ID(senderDomain string) string { return "" }

// Subject returns the Subject of the message that carries a report, without folding: RFC 9990 section 3.5.2.
func Subject(policyDomain, senderDomain, id string) string { return "" }

// File writes the attachment.
func (r *Report) File(s Sender) (File, error) { return File{}, nil }

// Frozen returns the report as State.Freeze stores it.
func (f File) Frozen(r *Report, s Sender, now time.Time) Frozen { return Frozen{} }
