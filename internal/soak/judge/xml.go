package judge

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/textproto"
	"strings"
)

// aggregate is the part of a DMARC report that the judge compares (RFC 9990).
type aggregate struct {
	ID     string `xml:"report_metadata>report_id"`
	Domain string `xml:"policy_published>domain"`
	Rows   []struct {
		Source      string `xml:"row>source_ip"`
		Count       int64  `xml:"row>count"`
		Disposition string `xml:"row>policy_evaluated>disposition"`
		DKIM        string `xml:"row>policy_evaluated>dkim"`
		SPF         string `xml:"row>policy_evaluated>spf"`
	} `xml:"record"`
}

// IsReport reports whether a message of a mailbox is a DMARC report that a host sent.
func IsReport(raw []byte) bool {
	header, _, _ := bytes.Cut(raw, []byte("\n\n"))
	return !bytes.Contains(header, []byte("\n"+IDField+": ")) && bytes.Contains(bytes.ToLower(header), []byte("\nsubject: report domain: "))
}

// ReadReport returns a report from a message. It sets neither Begin nor End.
func ReadReport(raw []byte) (r Report, err error) {
	in := bufio.NewReader(bytes.NewReader(raw))
	header, err := textproto.NewReader(in).ReadMIMEHeader()
	if err != nil {
		return r, fmt.Errorf("reading the header: %w", err)
	}
	kind, parameters, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return r, fmt.Errorf("reading Content-Type: %w", err)
	}
	body, err := io.ReadAll(in)
	if err != nil {
		return r, err
	}
	r.Sum = sha256.Sum256(body)
	data := body
	if strings.HasPrefix(kind, "multipart/") {
		parts := multipart.NewReader(bytes.NewReader(body), parameters["boundary"])
		for data = nil; data == nil; {
			p, err := parts.NextPart()
			if err != nil {
				return r, fmt.Errorf("no report in the message: %w", err)
			}
			if strings.Contains(p.Header.Get("Content-Type"), "gzip") {
				if data, err = io.ReadAll(p); err != nil {
					return r, err
				}
			}
		}
	}
	packed, err := base64.StdEncoding.DecodeString(string(bytes.Join(bytes.Fields(data), nil)))
	if err != nil {
		return r, fmt.Errorf("decoding the report: %w", err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return r, err
	}
	var a aggregate
	if err := xml.NewDecoder(z).Decode(&a); err != nil {
		return r, fmt.Errorf("reading the XML: %w", err)
	}
	if a.ID == "" || a.Domain == "" {
		return r, errors.New("the report has no ID or no domain")
	}
	r.ID, r.Domain, r.Rows = a.ID, a.Domain, map[Row]int64{}
	for _, row := range a.Rows {
		r.Rows[Row{a.Domain, row.Source, row.Disposition, row.DKIM, row.SPF}] += row.Count
	}
	return r, nil
}
