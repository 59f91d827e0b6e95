package read

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
)

// Bounds on a report. They are those of docs/reports.md.
const (
	maxInflated = 25 << 20  // bytes of a report
	maxToken    = 256 << 10 // bytes of one XML tag or text, or JSON value
	maxRows     = 100_000   // records; policies; failures
	maxKept     = 100       // signatures, results and reasons of a record, hosts of a policy, errors of a report
	maxText     = 1000      // bytes
)

// File reads a report in a file: XML or JSON, as it is or in gzip or zip format. The content decides, not the name.
//
// The error is an *Error, or an error of r.
func File(r io.Reader) (*Report, error) {
	in := &failing{r: r}
	report, err := file(&limited{in, maxInflated + 1, "the file"})
	if in.err != nil {
		return nil, in.err
	}
	return report, err
}

func file(r io.Reader) (*Report, error) {
	in := bufio.NewReader(r)
	switch archive(in) {
	case "gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, typed(err, Malformed)
		}
		z.Multistream(false) // other bytes may follow
		return document(z)
	case "zip":
		return member(in)
	}
	return document(in)
}

// archive returns the format of an archive, or "".
func archive(in *bufio.Reader) string {
	head, _ := in.Peek(4)
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return "gzip"
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return "zip"
	}
	return ""
}

// member reads the report in a zip archive, whose sizes and names are not trusted.
func member(r io.Reader) (*Report, error) {
	text, err := io.ReadAll(&limited{r, maxMessage + 1, "the archive"})
	if err != nil {
		return nil, typed(err, Malformed)
	}
	z, err := zip.NewReader(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return nil, &Error{Cause: Malformed, Detail: "not a zip archive"}
	}
	var only *zip.File
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		if only != nil {
			return nil, &Error{Cause: Members}
		}
		only = f
	}
	if only == nil {
		return nil, &Error{Cause: Members}
	}
	f, err := only.Open()
	if err != nil {
		return nil, &Error{Cause: Malformed, Detail: "the archive cannot be extracted"}
	}
	defer f.Close()
	return document(f)
}

// document reads a report that is not in an archive. The decoders keep one token, not the document.
func document(r io.Reader) (*Report, error) {
	in := bufio.NewReader(&limited{r, maxInflated + 1, "the report"})
	if archive(in) != "" {
		return nil, &Error{Cause: Nested}
	}
	text := bufio.NewReader(decoded(in))
	for {
		c, err := text.ReadByte()
		if err != nil {
			return nil, typed(err, NotReport)
		}
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '<':
			_ = text.UnreadByte()
			return aggregate(text)
		case '{':
			_ = text.UnreadByte()
			return tls(text)
		}
		return nil, notReport()
	}
}

// decoded returns a text as UTF-8 without a byte order mark and without control characters other than white space. The encoding is that of
// the byte order mark or of the XML declaration. Bytes that are not of the encoding are replaced, as reporters copy what they received.
func decoded(in *bufio.Reader) io.Reader {
	var declared encoding.Encoding = unicode.UTF8
	head, _ := in.Peek(200)
	if before, _, ok := bytes.Cut(head, []byte("?>")); ok {
		if _, after, ok := bytes.Cut(before, []byte("encoding=")); ok && len(after) > 1 {
			name, _, _ := strings.Cut(string(after[1:]), string(after[:1]))
			// A declaration that was read byte by byte is not in UTF-16, although some libraries write so.
			if e, err := htmlindex.Get(name); err == nil && !strings.HasPrefix(strings.ToLower(name), "utf-16") {
				declared = e
			}
		}
	}
	visible := runes.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return ' '
		}
		return r
	})
	return transform.NewReader(in, transform.Chain(unicode.BOMOverride(declared.NewDecoder()), visible))
}
