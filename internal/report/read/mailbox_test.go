package read

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// all returns what Each finds, as "number domain" or "number cause".
func all(t *testing.T, r io.Reader) (found []string) {
	t.Helper()
	err := Each(r, func(n int, report *Report, err error) error {
		if err != nil {
			found = append(found, fmt.Sprint(n, " ", CauseOf(err)))
		} else {
			found = append(found, fmt.Sprint(n, " ", report.Kind, " ", report.Domain))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Each recognizes files, messages and mbox files by their content.
func TestEach(t *testing.T) {
	message := "Subject: x\nContent-Type: text/xml\n\n" + start + "\n" + end + "\n"
	long := "Subject: x\n\n" + strings.Repeat("a", 200<<10) + "\nFrom here on, this is one message\n"
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"XML", "\ufeff \n" + start + end, []string{"0 aggregate example.com"}},
		{"UTF-16", utf16("<?xml version='1.0' encoding='utf-16'?>" + start + end), []string{"0 aggregate example.com"}},
		{"JSON", startTLS + policy + endTLS, []string{"0 tls example.com"}},
		{"gzip", string(gzipped(t, strings.NewReader(start+end))), []string{"0 aggregate example.com"}},
		{"message", message, []string{"0 aggregate example.com"}},
		{"message with CRLF", strings.ReplaceAll(message, "\n", "\r\n"), []string{"0 aggregate example.com"}},
		{"mbox", "From a b\n" + message + "\nFrom a b\n" + long + "\nFrom a b\nSubject: broken\n\n" + start + "\n\nFrom a b\n" + message,
			[]string{"1 aggregate example.com", "2 not_report", "3 malformed", "4 aggregate example.com"}},
		{"mbox with CRLF", strings.ReplaceAll("From a b\n"+message+"\nFrom a b\n"+message, "\n", "\r\n"), []string{"1 aggregate example.com", "2 aggregate example.com"}},
		{"a message over the limit in an mbox", "From a b\nSubject: x\n\n" + start + strings.Repeat("<a/>\n", 3<<20) + "\nFrom a b\n" + message, []string{"1 too_large", "2 aggregate example.com"}},
		{"empty", "", []string{"0 not_report"}},
		{"empty mbox", "From a b\n", []string{"1 not_report"}},
		{"binary", "\x7fELF\x00\x00", []string{"0 not_report"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := all(t, strings.NewReader(c.text)); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
			if got := all(t, iotest.OneByteReader(strings.NewReader(c.text[:min(len(c.text), 100<<10)]))); len(got) == 0 {
				t.Error("nothing found byte by byte")
			}
		})
	}
}

func utf16(s string) string {
	b := []byte{0xff, 0xfe}
	for _, c := range []byte(s) {
		b = append(b, c, 0)
	}
	return string(b)
}

// Errors of the file and of the caller end Each.
func TestEachFails(t *testing.T) {
	broken := errors.New("disk")
	none := func(int, *Report, error) error { return nil }
	mbox := "From a b\nSubject: x\n\nhello\n\n"
	for _, text := range []string{"", start, "Subject: x\n\nhello\n", mbox, mbox + "From a b\nSubject: y\n\n<feedback>"} {
		if err := Each(io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)), none); !errors.Is(err, broken) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := Each(strings.NewReader(mbox+mbox), func(int, *Report, error) error { return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// A large mbox is read message by message.
func TestLargeMailbox(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	text, err := os.ReadFile("testdata/google.eml")
	if err != nil {
		t.Fatal(err)
	}
	one := "From a b\n" + string(bytes.TrimSpace(text)) + "\n\n"
	const messages = 20_000
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	m := &metered{r: repeated("", one, messages, ""), base: s.HeapAlloc, every: 8 << 20}
	n := 0
	if err := Each(m, func(_ int, r *Report, err error) error { n++; return err }); err != nil || n != messages {
		t.Errorf("%d messages: %v", n, err)
	}
	if m.peak > 32<<20 {
		t.Errorf("the heap grew by %d MiB", m.peak>>20)
	}
	t.Logf("%d MiB: heap %d MiB", m.n>>20, m.peak>>20)
}

func TestReporter(t *testing.T) {
	for contact, want := range map[string]string{
		"dmarc@Mail.Example.":          "mail.example",
		"Reporter <dmarc@b.example>":   "b.example",
		"mailto:dmarc@b.example":       "b.example",
		"https://support.example/help": "org.example",
		"":                             "org.example",
		"root@localhost":               "org.example",
	} {
		if got := (&Report{Contact: contact, OrgName: "Org.example"}).Reporter(); got != want {
			t.Errorf("%q: %q, want %q", contact, got, want)
		}
	}
	if got := (&Report{OrgName: "Example Inc."}).Reporter(); got != "" {
		t.Errorf("%q", got)
	}
}
