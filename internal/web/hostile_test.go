package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/net/html"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/journal"
	"signpost/internal/spf"
	"signpost/policy"
)

// hostile returns a record with the same text in each field that a sender controls.
func hostile(evil string) *decision.Record {
	r := record(3)
	e := &r.Evidence
	e.QueueID, e.MessageID, e.Connection.HELO, e.Connection.Name, e.Connection.PTR = evil, evil, evil, evil, evil
	e.Envelope = policy.Envelope{Sender: evil, Login: evil}
	e.Author = dmarc.Author{Domains: []string{evil}, Cause: dmarc.FromSeveral, Detail: evil}
	e.Relayed = []string{evil}
	*e.SPF = spf.Result{Status: spf.Fail, Identity: spf.MailFrom, Domain: evil, Cause: spf.UnknownMechanism, Detail: evil, Term: evil, RecordDomain: evil, Record: evil}
	e.DKIM = []dkim.Result{{Status: dkim.Fail, Cause: dkim.MissingTag, Detail: evil, Domain: evil, Selector: evil, Identity: evil, Algorithm: evil, Headers: []string{evil}, Signature: evil, KeyName: evil, KeyRecord: evil}}
	e.DMARC = []dmarc.Result{{Status: dmarc.Fail, Domain: evil, OrgDomain: evil, PolicyDomain: evil, Record: evil, Tag: "p", Published: "reject", Policy: "reject", Cause: dmarc.PolicyTagInvalid, Detail: evil}}
	e.ARC = &dkim.Chain{Status: dkim.Fail, Cause: dkim.MissingTag, Detail: evil, Sets: []dkim.Sealer{{Instance: 1, Domain: evil, Selector: evil, Results: evil}}}
	e.Others = []policy.Other{{Method: "dkim", Result: evil, Domain: evil, Selector: evil, Reason: evil}}
	reason := policy.Reason{Code: policy.DMARCFail, Domain: evil, Detail: evil, Cause: evil}
	r.Reasons, r.Verdict.Evidence, r.Reply.Text = []policy.Reason{reason}, []policy.Reason{reason}, evil
	r.Assignment.Reason = reason
	r.Lookups = []dns.Lookup{{Name: evil, Type: "TXT", Status: dns.NoError, Records: []string{evil}}}
	return r
}

// Text from senders adds no element, attribute, address or unprintable character to a page.
func TestHostileMail(t *testing.T) {
	const mark = "zqx"
	sent := func(text string) Site {
		site := newSite(t, hostile(text))
		found := doctor.Finding{Check: text, Level: doctor.Red, What: text, Where: text, Why: text, Fix: text, Domain: text}
		site.Check = func(context.Context) []doctor.Finding { return []doctor.Finding{found} }
		site.Doctor = func(context.Context) ([]doctor.Finding, error) {
			other := found
			other.Fix += "2"
			return []doctor.Finding{other, {Check: text, Level: doctor.Green, What: text}}, nil
		}
		return site
	}
	harmless := shapes(t, sent("harmless"))
	for _, evil := range []string{
		"<script>" + mark + "</script>", `"><img src=x onerror=` + mark + `>`, "' onmouseover='" + mark, "javascript:" + mark, "</title></pre></dd><b>" + mark, "<!--" + mark, "]]>" + mark, "&lt;b&gt;" + mark,
		"\u202e" + mark + "\u2066", "\x1b[31m" + mark + "\x00\r\n", "\xff\xfe" + mark, "{{.}}" + mark, mark + "\u200b\ufeff\u2028", "../../" + mark + "?a=b&c=d#e",
	} {
		site := sent(evil)
		for path, shape := range shapes(t, site) {
			if shape != harmless[path] {
				t.Errorf("%q changes %s:\n%s\nwant\n%s", evil, path, shape, harmless[path])
			}
		}
	}
}

// shapes returns the elements and attributes of each page, without the values that may differ. The page of each message has the key
// /message.
func shapes(t *testing.T, site Site) map[string]string {
	t.Helper()
	h := site.Handler()
	settled(t, h)
	reader, err := site.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	ids, err := reader.IDs(t.Context(), journal.Filter{}, 1, false)
	if err != nil || len(ids) != 1 {
		t.Fatal(ids, err)
	}
	top, _, err := reader.Top(t.Context(), journal.Filter{}, false, 1)
	if err != nil || len(top) != 1 {
		t.Fatal(top, err)
	}
	all := map[string]string{}
	for path, at := range map[string]string{"/": "/", "/doctor": "/doctor", "/search": "/search", "/search of a bar": "/search?since=2026-11-01T00:00:00Z&until=2026-11-02T00:00:00Z&domain=%22%3E%3Cb%3E", "/history": historyOf(top[0].Name), "/message": fmt.Sprintf("/message/%d", ids[0])} {
		w := get(t, h, at)
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d\n%s", at, w.Code, w.Body)
		}
		var b strings.Builder
		doc := parsed(t, w.Body.String())
		walk(doc, func(n *html.Node) {
			if n.Type == html.CommentNode {
				b.WriteString("comment ")
			}
			if n.Type != html.ElementNode {
				return
			}
			b.WriteString(n.Data)
			for _, a := range n.Attr {
				fmt.Fprintf(&b, " %s", a.Key)
				if (a.Key == "href" || a.Key == "action" || a.Key == "src") && !strings.HasPrefix(a.Val, "/") && a.Val != "#main" {
					t.Errorf("%s: an address leads to another site: %q", at, a.Val)
				}
			}
			b.WriteString("\n")
		})
		for _, r := range text(doc) {
			if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
				t.Errorf("%s shows %U", at, r)
			}
		}
		all[path] = b.String()
	}
	return all
}
