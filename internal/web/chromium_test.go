package web

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/doctor"
	"signpost/internal/spf"
	"signpost/policy"
)

// browser is a headless Chromium. The test controls the browser with the DevTools protocol over two pipes.
type browser struct {
	t       *testing.T
	to      *os.File
	from    *bufio.Reader
	session string
	last    int
	events  []event
}

type event struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

func startBrowser(t *testing.T, flags ...string) *browser {
	if testing.Short() {
		t.Skip("starts Chromium")
	}
	t.Helper()
	theirs, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("chromium", append(flags, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run", "--disable-background-networking",
		"--remote-debugging-pipe", "--user-data-dir="+t.TempDir())...)
	cmd.ExtraFiles = []*os.File{theirs, theirOut} // 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatal("scripts/setup installs chromium: ", err)
	}
	theirs.Close()
	theirOut.Close()
	b := &browser{t: t, to: to, from: bufio.NewReaderSize(from, 1<<20)}
	// A browser that does not answer must not block the tests.
	limit := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		limit.Stop()
		b.session = ""
		b.call("Browser.close", nil)
		_ = cmd.Wait()
		to.Close()
		from.Close()
	})
	var target struct{ TargetID string }
	b.read(b.call("Target.createTarget", map[string]any{"url": "about:blank"}), &target)
	var attached struct{ SessionID string }
	b.read(b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}), &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", nil)
	}
	return b
}

func (b *browser) read(raw json.RawMessage, into any) {
	b.t.Helper()
	if err := json.Unmarshal(raw, into); err != nil {
		b.t.Fatal(err)
	}
}

// call sends a request and waits for the answer. Events that arrive in the meantime are added to events.
func (b *browser) call(method string, params any) json.RawMessage {
	b.t.Helper()
	b.last++
	request := map[string]any{"id": b.last, "method": method}
	if params != nil {
		request["params"] = params
	}
	if b.session != "" {
		request["sessionId"] = b.session
	}
	text, err := json.Marshal(request)
	if err == nil {
		_, err = b.to.Write(append(text, 0))
	}
	if err != nil {
		b.t.Fatal(method, err)
	}
	for {
		e := b.next()
		if e.ID == b.last {
			if e.Error != nil {
				b.t.Fatalf("%s: %s", method, e.Error)
			}
			return e.Result
		}
	}
}

func (b *browser) next() (e event) {
	b.t.Helper()
	text, err := b.from.ReadBytes(0)
	if err != nil {
		b.t.Fatal("chromium: ", err)
	}
	b.read(text[:len(text)-1], &e)
	b.events = append(b.events, e)
	return e
}

// open loads a page, and returns the errors that the browser reports about it.
func (b *browser) open(address string) (faults []string) {
	b.t.Helper()
	b.events = nil
	b.call("Page.navigate", map[string]any{"url": address})
	for loaded := false; !loaded; {
		for _, e := range b.events {
			loaded = loaded || e.Method == "Page.loadEventFired"
		}
		if !loaded {
			b.next()
		}
	}
	b.eval("document.fonts.ready.then(() => true)")
	for _, e := range b.events {
		switch e.Method {
		case "Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Network.loadingFailed":
			faults = append(faults, e.Method+" "+string(e.Params))
		}
	}
	return faults
}

// eval returns the value of an expression, as JSON.
func (b *browser) eval(expression string) string {
	b.t.Helper()
	var r struct {
		Result struct{ Value json.RawMessage }
	}
	b.read(b.call("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}), &r)
	return string(r.Result.Value)
}

// screenshot writes a picture of the page to a file. The picture has the first height pixels, or the whole page if height is 0.
func (b *browser) screenshot(file string, width, height int) {
	b.t.Helper()
	var shot struct{ Data string }
	params := map[string]any{"captureBeyondViewport": true}
	if height > 0 {
		params["clip"] = map[string]int{"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
	}
	b.read(b.call("Page.captureScreenshot", params), &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(file, data, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// The test opens the pages in a real browser, in windows of telephones and desktops, in a light and a dark color scheme. The console
// has no errors, and no element is wider than the window. The contrast is sufficient. The keyboard reaches each link and field, and the
// focus is visible. With SIGNPOST_SCREENSHOTS=DIRECTORY, screenshots are written there: make screenshots.
func TestInBrowser(t *testing.T) {
	var all []*decision.Record
	for n := range 120 {
		all = append(all, record(n))
	}
	// Each action and each result has its own color.
	for i, action := range []policy.Action{policy.Tag, policy.Hold, policy.Tempfail} {
		r := record(2)
		r.Action, r.Observe = action, i == 1
		r.Evidence.SPF.Status = []spf.Status{spf.SoftFail, spf.TempError, spf.PermError}[i]
		r.Evidence.DKIM[0].Status = []dkim.Status{dkim.Policy, dkim.TempError, dkim.PermError}[i]
		r.Evidence.DMARC[0].Status = []dmarc.Status{dmarc.None, dmarc.TempError, dmarc.PermError}[i]
		all = append(all, r)
	}
	own := record(4)
	own.Evidence.Author.Domains = []string{"example.org"}
	site := newSite(t, append(all, own, hostile("\u202e<script>alert(1)</script>"+strings.Repeat("long", 40)))...)
	site.Doctor = func(context.Context) ([]doctor.Finding, error) {
		return []doctor.Finding{{Check: "mx", Level: doctor.Green, What: "mail.example.org"}, {Check: "bare-newline", Level: doctor.Yellow, What: "smtp/inet accepts a bare LF as the end of a line", Where: "main.cf: smtpd_forbid_bare_newline = no",
			Why: "SMTP smuggling: a client can hide a second message in a message", Fix: "postconf -e 'smtpd_forbid_bare_newline = yes'"},
			{Check: "spf", Level: doctor.Red, What: "example.org has no SPF record", Where: "example.org TXT", Why: "receivers cannot check which hosts may send its mail", Domain: "example.org",
				Fix: "example.org. 3600 IN TXT \"v=spf1 mx -all\""}}, nil
	}
	server := httptest.NewServer(site.Handler())
	defer server.Close()
	reader, err := site.Open()
	if err != nil {
		t.Fatal(err)
	}
	found, err := reader.Find(t.Context(), "4fXy0003")
	reader.Close()
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	b := startBrowser(t)
	b.open(server.URL + "/domain/example.org/look")
	for limit := time.Now().Add(20 * time.Second); b.eval("document.body.innerText.includes('p=quarantine')") != "true"; b.open(server.URL + "/domain/example.org") {
		if time.Now().After(limit) {
			t.Fatal("the findings about example.org are missing")
		}
	}
	b.open(server.URL + "/doctor/look")
	for limit := time.Now().Add(20 * time.Second); b.eval("document.body.innerText.includes('receivers cannot check')") != "true"; b.open(server.URL + "/doctor") {
		if time.Now().After(limit) {
			t.Fatal("doctor's findings are missing")
		}
	}
	for _, scheme := range []string{"light", "dark"} {
		b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
		for _, width := range []int{320, 375, 1280} {
			b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 800})
			for name, path := range map[string]string{"overview": "/", "history": "/history/sender3.example", "search": "/search", "message": fmt.Sprintf("/message/%d", found[0].ID), "keys": "/keys", "reports": "/reports", "received": "/received", "receivedabout": "/received/example.org", "doctor": "/doctor", "domain": "/domain/example.org"} {
				what := fmt.Sprintf("%s, %d wide, %s", name, width, scheme)
				for _, f := range b.open(server.URL + path) {
					t.Errorf("%s: %s", what, f)
				}
				if wide := b.eval("Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"); wide != fmt.Sprint(width) {
					t.Errorf("%s: the page is %s wide", what, wide)
				}
				if folder := os.Getenv("SIGNPOST_SCREENSHOTS"); folder != "" {
					b.screenshot(filepath.Join(folder, fmt.Sprintf("%s-%d-%s.png", name, width, scheme)), width, 0)
					if name == "overview" && width == 1280 && scheme == "light" {
						b.screenshot(filepath.Join(folder, "page.png"), width, 900) // make screenshots copies it to docs
					}
				}
				if scheme == "light" {
					b.tabThrough(what)
				}
				b.contrast(what)
			}
		}
	}
}

// contrast measures the contrast by WCAG 2.2, level AA. Section 1.4.3 is about text and its background. Section 1.4.11 is about the
// borders of fields and the marks in pictures; for a mark, the contrast of its area or of its edge is sufficient. The details elements
// are opened, and the first link has the focus.
func (b *browser) contrast(what string) {
	b.t.Helper()
	faults := b.eval(`(() => {
		const parse = c => { const n = c.match(/[\d.]+/g).map(Number); return { r: n[0], g: n[1], b: n[2], a: n.length > 3 ? n[3] : 1 } };
		const over = (f, g) => ({ r: f.r * f.a + g.r * (1 - f.a), g: f.g * f.a + g.g * (1 - f.a), b: f.b * f.a + g.b * (1 - f.a), a: 1 });
		const part = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
		const bright = c => .2126 * part(c.r) + .7152 * part(c.g) + .0722 * part(c.b);
		const ratio = (f, g) => { const [x, y] = [bright(over(f, g)), bright(g)].sort((a, b) => b - a); return (x + .05) / (y + .05) };
		const behind = e => { const all = [];
			for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.a > 0) all.push(c); if (c.a === 1) break }
			return all.reverse().reduce((g, f) => over(f, g), { r: 255, g: 255, b: 255, a: 1 }) };
		const faults = [], want = (name, r, least, e) => { if (!(r >= least)) faults.push(name + " " + r.toFixed(2) + ": " + e.outerHTML.slice(0, 120)) };
		document.querySelectorAll("details").forEach(d => d.open = true);
		const first = document.querySelector("nav a"); first.focus();
		let texts = 0, marks = 0;
		const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
		for (let n; n = walk.nextNode();) {
			const e = n.parentElement, s = getComputedStyle(e);
			if (!n.data.trim() || e.closest("title") || !e.getClientRects().length) continue;
			const size = parseFloat(s.fontSize), large = size >= 24 || size >= 18.66 && s.fontWeight >= 700;
			texts++; want("text", ratio(parse(s.color), behind(e)), large ? 3 : 4.5, e);
		}
		for (const e of document.querySelectorAll("input, select, button")) {
			const s = getComputedStyle(e);
			if (e.type !== "checkbox") want("field", ratio(parse(s.color), behind(e)), 4.5, e), want("border", ratio(parse(s.borderTopColor), behind(e.parentElement)), 3, e);
		}
		for (const e of document.querySelectorAll("svg rect[class]:not(.ground)")) {
			const s = getComputedStyle(e), line = e.closest(".line"), fill = parse(s.fill);
			const ground = line ? parse(getComputedStyle(line.querySelector(".ground")).fill) : behind(e.closest("svg"));
			fill.a *= s.fillOpacity;
			marks++; want("mark", Math.max(ratio(fill, ground), s.stroke === "none" ? 1 : ratio(parse(s.stroke), ground)), 3, e);
		}
		for (const e of document.querySelectorAll(".now")) {
			const halo = parse(getComputedStyle(e.parentElement.querySelector(".halo")).stroke);
			marks++; want("mark", ratio(parse(getComputedStyle(e).stroke), halo), 3, e);
		}
		want("focus", ratio(parse(getComputedStyle(first).outlineColor), behind(first.parentElement)), 3, first);
		if (!texts || document.querySelector("svg.bars, svg.line") && !marks) faults.push("nothing is measured: " + texts + " texts, " + marks + " marks");
		return faults;
	})()`)
	if faults != "[]" {
		b.t.Errorf("%s: too little contrast: %s", what, faults)
	}
}

// tabThrough presses the Tab key until each element has had the focus. The first element is the link that skips the navigation. The others
// follow in the order of the page. The focus must always be visible.
func (b *browser) tabThrough(what string) {
	b.t.Helper()
	const stops = `[...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")].filter(e => e.tabIndex >= 0 && e.checkVisibility())`
	var all int
	b.read(json.RawMessage(b.eval(stops+`.length`)), &all)
	b.eval(`document.seen = []; document.dim = 0; document.addEventListener("focusin", e => { document.seen.push(e.target);
		const at = e.target.getBoundingClientRect(), s = getComputedStyle(e.target);
		if (s.outlineStyle === "none" || parseFloat(s.outlineWidth) < 2 || at.right <= 0 || at.width === 0) document.dim++ }); true`)
	for range all {
		b.press("Tab", 9)
	}
	if missed := b.eval(stops + `.filter(e => !document.seen.includes(e)).map(e => e.outerHTML)`); missed != "[]" {
		b.t.Errorf("%s: the keyboard does not reach %s", what, missed)
	}
	if order := b.eval(stops + `.every((e, i) => document.seen[i] === e) && document.seen[0].className === "skip"`); order != "true" {
		b.t.Errorf("%s: the keyboard does not go by the order of the page, or not first to the way past the navigation: %s", what, b.eval(`document.seen.map(e => e.outerHTML.slice(0, 60))`))
	}
	if dim := b.eval("document.dim"); dim != "0" {
		b.t.Errorf("%s: %s times one does not see where the keyboard is", what, dim)
	}
	b.eval(`document.querySelector(".skip").focus()`)
	b.press("Enter", 13)
	if at := b.eval("document.activeElement.id"); at != `"main"` {
		b.t.Errorf("%s: the way past the navigation leads to %s", what, at)
	}
}

func (b *browser) press(key string, code int) {
	b.t.Helper()
	for _, kind := range []string{"rawKeyDown", "char", "keyUp"} {
		event := map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
		if kind == "char" {
			if key != "Enter" {
				continue
			}
			event["text"] = "\r"
		}
		b.call("Input.dispatchKeyEvent", event)
	}
}
