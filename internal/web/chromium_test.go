package web

import (
	"bufio"
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

	"signpost/internal/filter"
)

// browser is a headless Chromium, spoken to by its DevTools protocol over two pipes.
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

func startBrowser(t *testing.T) *browser {
	t.Helper()
	theirs, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run", "--disable-background-networking",
		"--remote-debugging-pipe", "--user-data-dir="+t.TempDir())
	cmd.ExtraFiles = []*os.File{theirs, theirOut} // 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatal("scripts/setup installs chromium: ", err)
	}
	theirs.Close()
	theirOut.Close()
	b := &browser{t: t, to: to, from: bufio.NewReaderSize(from, 1<<20)}
	// One that does not answer must not hold the tests up.
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

// call asks and waits for the answer; what else is told meanwhile is kept in events.
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

// open loads a page, and gives what the browser has against it.
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

// eval gives what an expression is, as JSON.
func (b *browser) eval(expression string) string {
	b.t.Helper()
	var r struct {
		Result struct{ Value json.RawMessage }
	}
	b.read(b.call("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}), &r)
	return string(r.Result.Value)
}

func (b *browser) screenshot(file string) {
	b.t.Helper()
	var shot struct{ Data string }
	b.read(b.call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}), &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(file, data, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// In a real browser, on a telephone and on a desk, light and dark: nothing is amiss in the console, nothing is wider than the
// window, and the keyboard reaches every link and field, where one sees that it does. SIGNPOST_SCREENSHOTS=FOLDER keeps
// pictures to look at: make screenshots.
func TestInBrowser(t *testing.T) {
	var all []filter.Report
	for n := range 120 {
		all = append(all, report(n))
	}
	site := newSite(t, append(all, hostile("\u202e<script>alert(1)</script>"+strings.Repeat("long", 40)))...)
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
	b.open(server.URL + "/doctor/look")
	for limit := time.Now().Add(20 * time.Second); b.eval("document.body.innerText.includes('others cannot tell')") != "true"; b.open(server.URL + "/doctor") {
		if time.Now().After(limit) {
			t.Fatal("doctor's findings do not come")
		}
	}
	for _, scheme := range []string{"light", "dark"} {
		b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
		for _, width := range []int{375, 1280} {
			b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 800})
			for name, path := range map[string]string{"overview": "/", "search": "/search", "message": fmt.Sprintf("/message/%d", found[0].ID), "keys": "/keys", "doctor": "/doctor"} {
				what := fmt.Sprintf("%s, %d wide, %s", name, width, scheme)
				for _, f := range b.open(server.URL + path) {
					t.Errorf("%s: %s", what, f)
				}
				if wide := b.eval("Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"); wide != fmt.Sprint(width) {
					t.Errorf("%s: the page is %s wide", what, wide)
				}
				if folder := os.Getenv("SIGNPOST_SCREENSHOTS"); folder != "" {
					b.screenshot(filepath.Join(folder, fmt.Sprintf("%s-%d-%s.png", name, width, scheme)))
				}
				if scheme == "light" {
					b.tabThrough(what)
				}
			}
		}
	}
}

// tabThrough presses the tabulator until it has been everywhere.
func (b *browser) tabThrough(what string) {
	b.t.Helper()
	var all int
	b.read(json.RawMessage(b.eval(`document.querySelectorAll("a[href], button, input, select, summary").length`)), &all)
	b.eval(`document.seen = new Set(); document.dim = 0; document.addEventListener("focusin", e => { document.seen.add(e.target);
		if (getComputedStyle(e.target).outlineStyle === "none") document.dim++ })`)
	for range all + 5 {
		for _, kind := range []string{"keyDown", "keyUp"} {
			b.call("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9})
		}
	}
	if missed := b.eval(`[...document.querySelectorAll("a[href], button, input, select, summary")].filter(e => !document.seen.has(e)).map(e => e.outerHTML)`); missed != "[]" {
		b.t.Errorf("%s: the keyboard does not reach %s", what, missed)
	}
	if dim := b.eval("document.dim"); dim != "0" {
		b.t.Errorf("%s: %s times one does not see where the keyboard is", what, dim)
	}
}
