package read

import (
	"archive/zip"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// heapBound is how much the heap may grow while a hostile report is read, including garbage that was not collected yet. The worker reads one
// report at a time.
const heapBound = 128 << 20

// metered is a reader that measures the heap every 64 KiB, or every so many bytes.
type metered struct {
	r          io.Reader
	every      int64
	n, next    int64
	base, peak uint64
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if m.n += int64(n); m.n >= m.next || err != nil {
		m.next = m.n + cmp.Or(m.every, 64<<10)
		m.measure()
	}
	return n, err
}

func (m *metered) measure() {
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	m.peak = max(m.peak, s.HeapAlloc-min(m.base, s.HeapAlloc))
}

// repeated is a reader of head, n times body, and tail.
func repeated(head, body string, n int, tail string) io.Reader {
	chunk := max(1, 64<<10/len(body))
	text := strings.Repeat(body, chunk)
	readers := []io.Reader{strings.NewReader(head)}
	for ; n >= chunk; n -= chunk {
		readers = append(readers, strings.NewReader(text))
	}
	return io.MultiReader(append(readers, strings.NewReader(strings.Repeat(body, n)+tail))...)
}

func gzipped(t *testing.T, r io.Reader) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.Copy(z, r); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// zipped returns an archive of n files with the same content.
func zipped(t *testing.T, names []string, text func() io.Reader) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range names {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "/") {
			if _, err := io.Copy(w, text()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const (
	start = "<feedback><report_metadata><org_name>x</org_name><email>a@example.org</email><report_id>1</report_id><date_range><begin>1764460800</begin>" +
		"<end>1764547199</end></date_range></report_metadata><policy_published><domain>example.com</domain><p>none</p></policy_published>"
	record = "<record><row><source_ip>192.0.2.1</source_ip><count>1</count></row></record>"
	end    = "</feedback>"

	startTLS = `{"organization-name":"x","date-range":{"start-datetime":"2026-11-30T00:00:00Z","end-datetime":"2026-11-30T23:59:59Z"},"report-id":"1","policies":[`
	policy   = `{"policy":{"policy-type":"sts","policy-domain":"example.com"},"summary":{"total-successful-session-count":1}}`
	failure  = `{"result-type":"certificate-expired"}`
	endTLS   = "]}"
)

// Each limit ends the reading with its cause, and the memory is bounded.
func TestLimits(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprint(i, ".xml")
	}
	small := func() io.Reader { return strings.NewReader(start + end) }
	long := strings.Repeat("a", 1<<20)
	for _, c := range []struct {
		name string
		r    io.Reader
		want Cause
	}{
		{"100 MiB of XML, inflated", bytes.NewReader(gzipped(t, repeated(start, strings.Repeat(" ", 1024), 100<<10, end))), TooLarge},
		{"100 MiB of XML in a zip archive", bytes.NewReader(zipped(t, []string{"a.xml"}, func() io.Reader { return repeated(start, strings.Repeat("<a></a>", 100), 150<<10, end) })), TooLarge},
		{"100 MiB of zeros, inflated", bytes.NewReader(gzipped(t, io.LimitReader(zeros{}, 100<<20))), TooLarge},
		{"100 MiB of JSON, inflated", bytes.NewReader(gzipped(t, repeated(startTLS, strings.Repeat(" ", 1024)+`null,`, 100<<10, endTLS))), TooLarge},
		{"26 MiB of XML", repeated(start, "<a></a>", 4<<20, end), TooLarge},
		{"1000 members", bytes.NewReader(zipped(t, many, small)), Members},
		{"200,000 members", bytes.NewReader(members(200_000)), Members},
		{"no member", bytes.NewReader(zipped(t, []string{"dir/"}, small)), Members},
		{"an archive in an archive", bytes.NewReader(gzipped(t, bytes.NewReader(gzipped(t, small())))), Nested},
		{"an archive in a zip archive", bytes.NewReader(zipped(t, []string{"a"}, func() io.Reader { return bytes.NewReader(gzipped(t, small())) })), Nested},
		{"a million records", bytes.NewReader(gzipped(t, repeated(start, "<record/>"+record, 1_000_000, end))), TooMany},
		{"100,001 short records", repeated(start, record, 100_001, end), TooMany},
		{"a million policies", bytes.NewReader(gzipped(t, repeated(startTLS, policy+",", 1_000_000, "null"+endTLS))), TooMany},
		{"a million failures", bytes.NewReader(gzipped(t, repeated(startTLS+`{"policy":{"policy-domain":"example.com"},"failure-details":[`, failure+",", 1_000_000, "null]}"+endTLS))), TooMany},
		{"17 levels of XML", strings.NewReader(start + strings.Repeat("<a>", 16) + strings.Repeat("</a>", 16) + end), TooDeep},
		{"a million levels of XML", repeated(start, "<a>", 1_000_000, ""), TooDeep},
		{"a million levels of JSON", repeated(startTLS, "[", 1_000_000, ""), TooDeep},
		{"a long text", repeated(start+"<a>", "a", 1<<20, "</a>"+end), TooLarge},
		{"a long tag", strings.NewReader(start + "<" + long + "/>" + end), TooLarge},
		{"many attributes", repeated(start+"<a ", "b='' ", 1<<20, "/>"+end), TooLarge},
		{"a long comment", repeated(start+"<!--", "a", 1<<20, "-->"+end), TooLarge},
		{"a long string", strings.NewReader(startTLS + `"` + long + `"` + endTLS), TooLarge},
		{"a document type", strings.NewReader(`<!DOCTYPE feedback [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>` + start + end), Doctype},
		{"a document type in an element", strings.NewReader(start + `<!DOCTYPE feedback SYSTEM "file:///etc/passwd">` + end), Doctype},
		{"a document type in a text", strings.NewReader(start + `<a>x<!DOCTYPE feedback></a>` + end), Doctype},
	} {
		t.Run(c.name, func(t *testing.T) {
			runtime.GC()
			var s runtime.MemStats
			runtime.ReadMemStats(&s)
			m := &metered{r: c.r, base: s.HeapAlloc}
			r, err := File(m)
			m.measure()
			if got := CauseOf(err); got != c.want {
				t.Errorf("%q, want %q: %v %v", got, c.want, err, r)
			}
			if m.peak > heapBound {
				t.Errorf("the heap grew by %d MiB", m.peak>>20)
			}
			t.Logf("heap %d MiB, read %d KiB: %v", m.peak>>20, m.n>>10, err)
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// members returns the shortest archive with n entries: a directory without files.
func members(n int) []byte {
	entry := append([]byte("PK\x01\x02"), make([]byte, 42)...)
	entry[28] = 1 // the length of the name
	entry = append(entry, 'a')
	b := append([]byte("PK\x03\x04"), bytes.Repeat(entry, n)...)
	tail := append([]byte("PK\x05\x06"), make([]byte, 18)...)
	size, at := uint32(n*len(entry)), uint32(4)
	for i := range 4 {
		tail[12+i], tail[16+i] = byte(size>>(8*i)), byte(at>>(8*i))
	}
	for i := range 2 {
		tail[8+i], tail[10+i] = byte(n>>(8*i)), byte(n>>(8*i))
	}
	return append(b, tail...)
}

// The largest reports are read: memory is bounded by what is kept.
func TestLargest(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	full := "<record><row><source_ip>192.0.2.1</source_ip><count>1</count></row><identifiers><header_from>example.com</header_from></identifiers>" +
		"<auth_results><dkim><domain>example.com</domain><selector>s</selector><result>pass</result></dkim></auth_results></record>"
	signatures := "<record><row><source_ip>192.0.2.1</source_ip><count>1</count></row><auth_results>" + strings.Repeat("<dkim><domain>a.b</domain></dkim>", 200) + "</auth_results></record>"
	for _, c := range []struct {
		name       string
		r          io.Reader
		rows, sigs int
	}{
		{"records", repeated(start, full, 90_000, end), 90_000, 1},
		{"signatures", repeated(start, signatures, 3_800, end), 3_800, maxKept},
	} {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		m := &metered{r: c.r, base: s.HeapAlloc}
		r, err := File(m)
		m.measure()
		if err != nil || len(r.Rows) != c.rows || len(r.Rows[0].Signatures) != c.sigs {
			t.Errorf("%s: %v", c.name, err)
		}
		if m.peak > heapBound {
			t.Errorf("%s: the heap grew by %d MiB", c.name, m.peak>>20)
		}
		t.Logf("%s: heap %d MiB of %d KiB", c.name, m.peak>>20, m.n>>10)
	}
}

// The limits of a message.
func TestMessageLimits(t *testing.T) {
	part := "--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
	nested := "Subject: x\r\n"
	for i := range 20 {
		nested += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	mixed := "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
	for _, c := range []struct {
		name string
		r    io.Reader
		want Cause
	}{
		{"11 MiB", repeated("Subject: x\r\nContent-Type: text/xml\r\n\r\n"+start, "<a></a>\r\n", 1_300_000, end), TooLarge},
		{"11 MiB of header", repeated("Subject: x\r\n", "X: "+strings.Repeat("a", 1000)+"\r\n", 11<<10, "\r\n"), TooLarge},
		{"a million fields", numbered("x%d:\r\n", 1_000_000), NotReport}, // the last field that is read is cut
		{"a million parameters", io.MultiReader(strings.NewReader("Content-Type: text/xml"), numbered(";a%d=b", 1_000_000)), TooLarge},
		{"a million parameters in a part", io.MultiReader(strings.NewReader(mixed+"--b\r\nContent-Type: text/xml"), numbered(";a%d=b", 1_000_000), strings.NewReader("\r\n\r\n"+start+"<a>")), Malformed},
		{"a long folded field in a part", repeated(mixed+"--b\r\nContent-Type: text/xml", ";\r\n a", 1_500_000, "\r\n\r\n"+start+"<a>"), Malformed},
		{"11 MiB of other mail", repeated(mixed+"--b\r\n\r\n", strings.Repeat("a", 70)+"\r\n", 160_000, part+"--b--\r\n"), TooLarge},
		{"100,000 parts", repeated(mixed, part, 100_000, "--b--\r\n"), TooMany},
		{"20 levels", strings.NewReader(nested + "Subject: x\r\n\r\n" + start + end), TooDeep},
	} {
		t.Run(c.name, func(t *testing.T) {
			runtime.GC()
			var s runtime.MemStats
			runtime.ReadMemStats(&s)
			m := &metered{r: c.r, base: s.HeapAlloc}
			_, err := Message(m)
			m.measure()
			if CauseOf(err) != c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
			if m.peak > heapBound {
				t.Errorf("the heap grew by %d MiB", m.peak>>20)
			}
			t.Logf("heap %d MiB, read %d KiB: %v", m.peak>>20, m.n>>10, err)
		})
	}
}

// numbered is a reader of n texts with numbers.
func numbered(format string, n int) io.Reader {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return strings.NewReader(b.String())
}

// An error of the reader is not an error of the report.
func TestReaderFails(t *testing.T) {
	broken := errors.New("disk")
	r := func(text string) io.Reader {
		return io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken))
	}
	if _, err := File(r(start)); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := Message(r("Subject: x\r\n\r\n" + start)); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// The daemon recognizes reports while mail arrives: a part with a million parameters takes little more memory than its bytes.
func TestRecognizeIsBounded(t *testing.T) {
	text := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/xml"
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	m := &metered{r: io.MultiReader(strings.NewReader(text), numbered(";a%d=b", 900_000), strings.NewReader("\r\n\r\n<feedback/>\r\n--b--\r\n")), base: s.HeapAlloc}
	_, possible := Recognize(m)
	m.measure()
	if m.peak > 60<<20 {
		t.Errorf("the heap grew by %d MiB", m.peak>>20)
	}
	t.Log(possible, m.peak>>20, "MiB")
}
