package top

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The number of lost messages is the sum of all causes. If a response does not contain this number, or is too large, the number is unknown.
func TestLosses(t *testing.T) {
	const lost = "# HELP signpost_journal_lost_total Messages.\n# TYPE signpost_journal_lost_total counter\n" +
		"signpost_journal_lost_total{cause=\"disk\"} 3\nsignpost_journal_lost_total{cause=\"} 7\"} 2\n"
	for text, want := range map[string]string{
		"# TYPE other gauge\nother 1\n" + lost:   "5 since the daemon started",
		"other 1\n":                              "does not report it",
		"<html>":                                 "does not report it",
		strings.Repeat("# long\n", 1<<20) + lost: "does not report it",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }))
		got, silent := losses(t.Context(), strings.TrimPrefix(server.URL, "http://"))
		server.Close()
		if !strings.Contains(got, want) || silent != "" {
			t.Errorf("%.40q: %q %q, want %q", text, got, silent, want)
		}
	}
}
