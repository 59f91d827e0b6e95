package domain

import (
	"bytes"
	"strings"
	"testing"
)

// A list may have a byte order mark, CRLF, comments and repetitions. The error names the first ten wrong lines.
func TestReadList(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		"\ufeffone.test\r\n\r\n# all of ours\r\n  two.test  # since May\r\n\tTHREE.test.\r\none.test": "one.test two.test three.test",
		"a.test\nexa mple\n# b\nb.test, c.test\n":                                                     "f:2: \"exa mple\" is not a domain name|f:4: \"b.test, c.test\" is not a domain name",
		strings.Repeat("(\n", 25):                                                                     "f:10: \"(\" is not a domain name|f: 15 more lines are wrong",
		strings.Repeat("example.org\n", maxList/len("example.org")):                                   "f: larger than 4 MiB, the maximum size of a list of domains",
	} {
		all, err := ReadList(strings.NewReader(text), "f", ParseArgument)
		got := strings.Join(all, " ")
		if err != nil {
			got = strings.ReplaceAll(err.Error(), "\n", "|")
		}
		if err == nil && got != want || err != nil && !strings.HasSuffix(got, want) {
			t.Errorf("%.60q: %q, want %q", text, got, want)
		}
	}
}

func FuzzReadList(f *testing.F) {
	f.Add([]byte("example.org # x\n\nb\xc3\xbccher.example"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := ReadList(bytes.NewReader(data), "f", ParseArgument)
		if err != nil {
			return
		}
		again, err := ReadList(strings.NewReader(strings.Join(all, "\n")), "f", ParseArgument)
		if err != nil || strings.Join(again, " ") != strings.Join(all, " ") {
			t.Fatalf("%q is %q when it is read again: %v", all, again, err)
		}
		for _, d := range all {
			if strings.Trim(d, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
				t.Fatalf("%q", d)
			}
		}
	})
}
