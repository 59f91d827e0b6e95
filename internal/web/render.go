package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"signpost/internal/report/status"
	"signpost/internal/report/summary"
)

//go:embed assets
var assets embed.FS

// asset returns a handler that serves an embedded file. A new version may change the file, so browsers cache it for five minutes only.
func asset(name, kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		data, err := assets.ReadFile("assets/" + name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "max-age=300")
		_, _ = w.Write(data)
	}
}

// pages holds the templates by name.
type pages map[string]*template.Template

func parse(where *time.Location) pages {
	functions := template.FuncMap{
		"show":    show,
		"results": results,
		"count":   func(n int64) string { return strconv.FormatInt(n, 10) },
		"size":    size,
		"when":    func(t time.Time) string { return t.In(where).Format("2006-01-02 15:04") },
		"day":     func(t time.Time) string { return t.In(where).Format(time.DateOnly) },
		"date":    func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
		"percent": summary.Percent,
		"alarm":   status.Alarm.String,
		"advice":  summary.Advice,
		"cause":   summary.Cause,
		"effect":  summary.Effect,
		"cost":    summary.Cost,
		"verdict": summary.Verdict,
		"policy":  summary.Policy,
		"trust":   summary.Trust,
		"rfc3339": func(t time.Time) string { return t.In(where).Format(time.RFC3339) },
	}
	all := pages{}
	for _, name := range []string{"overview", "history", "search", "message", "keys", "reports", "received", "receivedabout", "doctor", "domain"} {
		all[name] = template.Must(template.New("base.html").Funcs(functions).ParseFS(assets, "assets/base.html", "assets/"+name+".html"))
	}
	return all
}

// write writes a page, or an error if the template fails. It never writes an incomplete page.
func (p pages) write(w http.ResponseWriter, name string, model shown) {
	var b bytes.Buffer
	if err := p[name].ExecuteTemplate(&b, "base.html", model); err != nil {
		http.Error(w, "internal error: this page cannot be rendered: "+show(err.Error()), http.StatusInternalServerError)
		return
	}
	v := model.frame()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if v.refresh != "" {
		w.Header().Set("Refresh", v.refresh)
	}
	if v.status != 0 {
		w.WriteHeader(v.status)
	}
	_, _ = w.Write(b.Bytes())
}

// show returns untrusted text in a printable form. It escapes control characters, characters that change the direction of writing or
// have no width, and bytes that are not valid UTF-8. It does not escape line feeds and tabs.
func show(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case r == '\n' || r == '\t' || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
		text = text[n:]
	}
	return b.String()
}

func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// zone returns the name of a time zone, with its offset from UTC.
func zone(t time.Time) string {
	name, offset := t.Zone()
	if offset == 0 {
		return "UTC"
	}
	return fmt.Sprintf("%s (UTC%s)", name, t.Format("-07:00"))
}
