package soak

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/soak/judge"
	"signpost/internal/soak/traffic"
	"signpost/internal/testdkim"
)

const (
	// everySigned is how many copies with our signature there are for each one that dkimpy verifies.
	everySigned = 40
	// afterChange is how long after a key change all copies are verified.
	afterChange = 30 * time.Second
	// batch is the greatest number of messages that one dkimpy verifies.
	batch = 200
)

// post is what was read from the mailboxes.
type post struct {
	signed  int // copies with a signature of ours
	reports int
	samples []sample // that dkimpy has not verified yet
	busy    bool     // a dkimpy is running
	work    sync.WaitGroup
}

// sample is a copy whose signatures of ours are verified with the DNS of the moment at which it was read.
type sample struct {
	id  string
	at  time.Time
	raw []byte
}

// send hands a message over to its host.
func (w *world) send(ctx context.Context, m *traffic.Mail, room chan struct{}) {
	for _, h := range w.hosts {
		if h.Name == m.Host {
			addr := h.mta.SMTP
			if m.Login != "" {
				addr = h.mta.Submission
			}
			traffic.Send(ctx, addr, m, room)
		}
	}
}

// collect reads and deletes the messages in all mailboxes. The caller holds mu.
func (w *world) collect(j *judge.Judge, mu *sync.Mutex) (n int) {
	w.Helper()
	for _, h := range w.hosts {
		dir := filepath.Join(h.mta.Dir, "mail", "box", "new")
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			w.Fatal(err)
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			info, err := e.Info()
			must(w.T, err)
			raw, err := os.ReadFile(path)
			must(w.T, err)
			must(w.T, os.Remove(path))
			if judge.IsReport(raw) {
				r, err := judge.ReadReport(raw)
				must(w.T, err)
				j.Reported(r)
				w.post.reports++
				continue
			}
			c, err := judge.ReadCopy(h.ID, raw)
			if err != nil { // the message is not of this test
				w.Errorf("a message in the mailbox of host %s: %v\n%s", h.Name, err, raw)
				continue
			}
			c.Host, c.At = h.Name, info.ModTime()
			j.Arrived(c)
			w.sample(c, raw)
			n++
		}
	}
	w.verify(j, mu)
	return n
}

// sample chooses copies with signatures of ours: some, and all after a key change.
func (w *world) sample(c judge.Copy, raw []byte) {
	ours := w.ours()
	if !slices.ContainsFunc(c.Signers, func(signer string) bool { return slices.Contains(ours, signer) }) {
		return
	}
	p := &w.post
	if p.signed++; p.signed%everySigned == 1 || time.Since(w.keys.changed()) < afterChange {
		p.samples = append(p.samples, sample{id: c.ID, at: c.At, raw: []byte(dkim.CRLF(string(raw)))})
	}
}

// verify verifies the samples with dkimpy. It returns at once. The caller holds mu, which protects the judge.
func (w *world) verify(j *judge.Judge, mu *sync.Mutex) {
	p := &w.post
	if p.busy || len(p.samples) == 0 {
		return
	}
	n := min(len(p.samples), batch)
	samples := p.samples[:n:n]
	p.samples, p.busy = p.samples[n:], true
	p.work.Go(func() {
		records := map[string]string{}
		var all [][]byte
		var failed error
		for _, s := range samples {
			all = append(all, s.raw)
			for _, name := range recordNames(string(s.raw), w.ours()) {
				if _, ok := records[name]; ok || failed != nil {
					continue
				}
				records[name], failed = w.txt(name)
			}
		}
		found, err := testdkim.DKIMPyVerifyAll(context.Background(), all, records)
		mu.Lock()
		defer mu.Unlock()
		p.busy = false
		if err := errors.Join(failed, err); err != nil {
			w.Errorf("dkimpy: %v", err)
			return
		}
		for i, opinions := range found {
			for _, o := range opinions {
				if slices.Contains(w.ours(), o.Domain) {
					err := error(nil)
					if !o.OK {
						err = errors.New(o.Selector + ": " + o.Detail)
					}
					j.Verified(samples[i].id, o.Domain, samples[i].at, err)
				}
			}
		}
	})
}

// recordNames returns the names of the records of all signatures of these domains.
func recordNames(raw string, domains []string) (names []string) {
	header, _, _ := strings.Cut(raw, "\r\n\r\n")
	tag := func(name, value string) string {
		m := regexp.MustCompile(`(?:^|;)\s*` + name + `\s*=\s*([^;\s]+)`).FindStringSubmatch(value)
		if m == nil {
			return ""
		}
		return m[1]
	}
	for field := range strings.SplitSeq(strings.ReplaceAll(header, "\r\n\t", " "), "\r\n") {
		value, ok := strings.CutPrefix(field, "DKIM-Signature:")
		if d := tag("d", value); ok && slices.Contains(domains, d) {
			names = append(names, tag("s", value)+"._domainkey."+d)
		}
	}
	return names
}
