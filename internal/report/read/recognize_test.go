package read

import (
	"strings"
	"testing"
)

// The form of a message shows the kind of a report only if a program sent it. A message without a part that may be a report is not one.
func TestRecognize(t *testing.T) {
	const subject = "Subject: Report Domain: example.org Submitter: receiver.example Report-ID: 1\r\n"
	const name = "receiver.example!example.org!1700000000!1700086399"
	multi := func(kind string, parts ...string) string {
		return subject + "Content-Type: multipart/" + kind + "; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n" + strings.Join(parts, "\r\n--b\r\n") + "\r\n--b--\r\n"
	}
	attached := func(media, name string) string {
		return "Content-Type: " + media + "\r\nContent-Disposition: attachment; filename=\"" + name + "\"\r\n\r\nx"
	}
	for what, c := range map[string]struct {
		message  string
		kind     Kind
		possible bool
	}{
		"gzip alone":                  {subject + attached("application/gzip", name+".xml.gz"), Aggregate, true},
		"zip, name in Content-Type":   {subject + "Content-Type: application/zip; name=\"" + name + "!9.zip\"\r\n\r\nx", Aggregate, true},
		"octet-stream in mixed":       {multi("mixed", attached("application/octet-stream", name+".xml.gz")), Aggregate, true},
		"encoded subject":             {strings.Replace(multi("mixed", attached("application/gzip", name+".xml.gz")), "Report Domain:", "=?utf-8?q?Report_Domain=3A?=", 1), Aggregate, true},
		"nested":                      {multi("mixed", "Content-Type: multipart/related; boundary=c\r\n\r\n--c\r\n"+attached("application/gzip", name+".xml.gz")+"\r\n--c--"), Aggregate, true},
		"tlsrpt":                      {multi("report; report-type=tlsrpt", attached("application/tlsrpt+gzip", "x.json.gz")), TLS, true},
		"tlsrpt, plain":               {subject + "Content-Type: application/tlsrpt+json\r\n\r\n{}", TLS, true},
		"failure report":              {multi("report; report-type=feedback-report", "Content-Type: message/feedback-report\r\n\r\n"), Failure, true},
		"two kinds":                   {multi("mixed", attached("application/gzip", name+".xml.gz"), attached("application/tlsrpt+gzip", "x")), "", true},
		"forwarded":                   {strings.Replace(multi("mixed", attached("application/gzip", name+".xml.gz")), "Report Domain", "Fwd: Report Domain", 1), "", true},
		"another name":                {multi("mixed", attached("application/zip", "photos.zip")), "", true},
		"name with a directory":       {multi("mixed", attached("application/zip", "../"+name+".zip")), "", true},
		"XML as text":                 {multi("mixed", attached("text/plain", "report.XML")), "", true},
		"a bounce":                    {multi("report; report-type=delivery-status", "Content-Type: message/delivery-status\r\n\r\n"), "", false},
		"text and HTML":               {multi("alternative", "Content-Type: text/html\r\n\r\nx"), "", false},
		"text":                        {subject + "\r\ntext", "", false},
		"no last boundary":            {strings.TrimSuffix(multi("mixed", attached("application/gzip", name+".xml.gz")), "--b--\r\n"), "", true},
		"no boundary":                 {subject + "Content-Type: multipart/mixed\r\n\r\nx", "", true},
		"too many parts":              {multi("mixed", strings.Repeat("\r\nx\r\n--b\r\n", recognizedParts), attached("application/gzip", name+".xml.gz")), "", true},
		"too deep":                    {subject + deep(20), "", true},
		"no header":                   {"", "", true},
		"a name with line separators": {subject + "Content-Type: application/gzip; name*0=\"receiver.example!example.org\"; name*1=\"!1700000000!1700086399.xml.gz\"\r\n\r\nx", Aggregate, true},
	} {
		if kind, possible := Recognize(strings.NewReader(c.message)); kind != c.kind || possible != c.possible {
			t.Errorf("%s: %q %v, want %q %v", what, kind, possible, c.kind, c.possible)
		}
	}
}

// deep returns n nested multiparts.
func deep(n int) string {
	if n == 0 {
		return "\r\nx\r\n"
	}
	return "Content-Type: multipart/mixed; boundary=b" + strings.Repeat("c", n) + "\r\n\r\n--b" + strings.Repeat("c", n) + "\r\n" + deep(n-1) + "\r\n--b" + strings.Repeat("c", n) + "--\r\n"
}

// The fields of the header decide whether a copy is started.
func TestPossible(t *testing.T) {
	for kind, want := range map[string]bool{
		"": false, "text/plain": false, "text/html; charset=utf-8": false, "image/png": false,
		" multipart/mixed; boundary=b": true, "MULTIPART/report; =": true, "application/gzip": true, "application/x-zip-compressed; name=x": true,
		"text/xml": true, "application/tlsrpt+json": true, "message/feedback-report": true, "text/plain; name=\"a.json.gz\"": true,
	} {
		if Possible(kind, "") != want {
			t.Errorf("%q: %v", kind, !want)
		}
	}
	if !Possible("text/plain", "attachment; filename=a.zip") {
		t.Error("the file name is not used")
	}
}

// Any text is recognized without a panic. A message whose form shows a kind is always a possible report, also by its header alone.
func FuzzRecognize(f *testing.F) {
	f.Add("Subject: Report domain: x\r\nContent-Type: application/gzip; name=\"a!b!1!2.xml.gz\"\r\n\r\nx")
	f.Add("Content-Type: multipart/report; report-type=tlsrpt; boundary=b\r\n\r\n--b\r\nContent-Type: application/tlsrpt+gzip\r\n\r\nx\r\n--b--\r\n")
	f.Add(deep(6))
	f.Fuzz(func(t *testing.T, text string) {
		kind, possible := Recognize(strings.NewReader(text))
		if kind != "" && !possible {
			t.Errorf("%q: %s, but not possible", text, kind)
		}
	})
}
