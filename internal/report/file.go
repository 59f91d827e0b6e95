package report

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
	"time"
)

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

// ID returns the Report-ID of a report: a hash of the Sender's domain, the day, the policy and the part, and of nothing else.
func (r *Report) ID(senderDomain string) string {
	text := "signpost report 1\n" + senderDomain + "\n" + r.Day.Format(time.DateOnly) + "\n" + r.Policy.configuration()
	if r.Part > 1 {
		text += fmt.Sprintf("\npart %d", r.Part)
	}
	sum := sha256.Sum256([]byte(text))
	return base32Lower(sum[:16])
}

// base32Lower returns lower-case letters and digits.
func base32Lower(b []byte) string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

// Subject returns the Subject of the message that carries a report, without folding: RFC 9990 section 3.5.2.
func Subject(policyDomain, senderDomain, id string) string {
	return fmt.Sprintf("Report Domain: %s Submitter: %s Report-ID: <%s>", policyDomain, senderDomain, id)
}

// File writes the attachment.
func (r *Report) File(s Sender) (File, error) {
	id := r.ID(s.Domain)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := r.write(z, s, id); err != nil {
		return File{}, err
	}
	if err := z.Close(); err != nil {
		return File{}, err
	}
	return File{ID: id, Name: fmt.Sprintf("%s!%s!%d!%d!%s.xml.gz", s.Domain, r.Policy.Domain, r.Begin().Unix(), r.End().Unix(), id), Gzip: b.Bytes()}, nil
}

// Frozen returns the report as State.Freeze stores it.
func (f File) Frozen(r *Report, s Sender, now time.Time) Frozen {
	return Frozen{ID: f.ID, File: f.Name, Gzip: f.Gzip, Day: r.Day, Domain: r.Policy.Domain, Rows: len(r.Rows), Messages: r.Messages,
		Created: now.UTC().Truncate(time.Second), SenderDomain: s.Domain, OrgName: s.OrgName, Email: s.Email}
}
