package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-milter"
	msgauth "github.com/emersion/go-msgauth/dkim"

	"signpost/internal/dkim"
)

// answer is the result of one message at a server.
type answer struct {
	fields []dkim.Field // the fields that the server added at the top
	action *milter.Action
}

// ask sends one message to a server on a new connection.
func (s *server) ask(m *mail) (a answer, err error) {
	for _, socket := range s.sockets {
		c, err := dial(socket)
		if err != nil {
			return a, err
		}
		defer c.close()
		if err := c.open(m.from); err != nil {
			return a, err
		}
		var edits []milter.ModifyAction
		if edits, a.action, err = c.message(m, a.fields); err != nil {
			return a, err
		}
		a.edit(edits)
		if a.action.Code != milter.ActContinue && a.action.Code != milter.ActAccept {
			break
		}
	}
	return a, nil
}

// edit adds the header fields that a milter added or inserted.
func (a *answer) edit(edits []milter.ModifyAction) {
	for _, e := range edits {
		if e.Code != milter.ActAddHeader && e.Code != milter.ActInsertHeader {
			continue
		}
		value := e.HeaderValue
		if !strings.HasPrefix(value, " ") {
			value = " " + value
		}
		a.fields = append(a.fields, dkim.Field{Name: e.HeaderName, Value: dkim.CRLF(value)})
	}
}

// results returns the Authentication-Results fields that the server wrote.
func (a *answer) results() string {
	var b strings.Builder
	for _, f := range a.fields {
		if strings.EqualFold(f.Name, "Authentication-Results") {
			b.WriteString(f.Value + "\n")
		}
	}
	return b.String()
}

// rejected reports whether the client gets a reply of 5yz.
func (a *answer) rejected() bool {
	return a.action.Code == milter.ActReject || a.action.Code == milter.ActReplyCode && a.action.SMTPCode/100 == 5
}

// check compares a server's answers with the correct ones. Otherwise a broken server could appear fast.
func (w *world) check(s *server) error {
	if s.does(signing) {
		if err := w.checkSigning(s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if s.does(verifying) {
		if err := w.checkVerifying(s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// checkSigning verifies signatures with a library other than Signpost's.
func (w *world) checkSigning(s *server) error {
	for _, size := range []int{4 << 10, 100 << 10, 10 << 20} {
		m := letter(9999, size, user(), "ann@example.org")
		a, err := s.ask(m)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(a.fields, func(f dkim.Field) bool { return strings.EqualFold(f.Name, "DKIM-Signature") })
		if at < 0 {
			return fmt.Errorf("it did not sign: %s, %q", said(a.action), a.fields)
		}
		got, err := msgauth.VerifyWithOptions(bytes.NewReader(m.with(a.fields[at]).wire()),
			&msgauth.VerifyOptions{LookupTXT: func(string) ([]string, error) { return []string{w.record}, nil }})
		if err != nil || len(got) != 1 || got[0].Err != nil {
			return fmt.Errorf("its signature does not verify: %s: %v, %v", a.fields[at].Value, got, err)
		}
	}
	return nil
}

func (w *world) checkVerifying(s *server) error {
	good := letter(9999, 4<<10, sender(), "ann@example.com")
	if err := good.sign(dkim.Key{Domain: "example.com", Selector: selector, Signer: w.key}); err != nil {
		return err
	}
	tampered := *good
	tampered.body = append([]byte("Pay this first.\r\n"), good.body...)
	forged := letter(9998, 4<<10, forger(), "ceo@bank.example")
	forged.sender = "x@stranger.example"

	want := []string{"dkim=pass"}
	if s.spf {
		want = append(want, "spf=pass", "dmarc=pass")
	}
	a, err := s.ask(good)
	if err != nil {
		return err
	}
	for _, word := range want {
		if !strings.Contains(a.results(), word) {
			return fmt.Errorf("a good message has no %s: %s, %q", word, said(a.action), a.fields)
		}
	}
	if a, err = s.ask(&tampered); err != nil {
		return err
	}
	if text := a.results(); !a.rejected() && (strings.Contains(text, "dkim=pass") || !strings.Contains(text, "dkim=")) {
		return fmt.Errorf("a changed body was not detected: %s, %q", said(a.action), a.fields)
	}
	if a, err = s.ask(forged); err != nil {
		return err
	}
	if s.spf && !a.rejected() {
		return fmt.Errorf("a message with a forged sender was not rejected: %s, %q", said(a.action), a.fields)
	}
	return nil
}
