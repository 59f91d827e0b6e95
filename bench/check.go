package main

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"signpost/internal/dkim"
)

// answer is what a server did with one message.
type answer struct {
	fields []dkim.Field // that it put on top
	code   byte         // of the milter protocol; 'c' and 'a' let the message go on
	text   string
}

// ask has a server look at one message, on a connection of its own.
func (s *server) ask(m *mail) (answer, error) {
	l, err := newLoader(s, cell{perSession: 1}, []*mail{m})
	if err != nil {
		return answer{}, err
	}
	var a answer
	for i, socket := range s.sockets {
		c, err := dial(socket)
		if err != nil {
			return answer{}, err
		}
		defer c.close()
		if _, _, err := c.play(l.opening[i], nil, nil); err != nil {
			return answer{}, err
		}
		a.code, a.text, err = c.play(l.first[i][0], slices.Clone(a.fields), a.edit)
		if err != nil {
			return answer{}, err
		}
		if a.code != 'c' && a.code != 'a' {
			break
		}
	}
	return a, nil
}

// edit notes a field that is added ('h') or inserted ('i', an index before it).
func (a *answer) edit(code byte, data []byte) {
	if code == 'i' && len(data) > 4 {
		data = data[4:]
	} else if code != 'h' {
		return
	}
	name, value, _ := strings.Cut(strings.TrimSuffix(string(data), "\x00"), "\x00")
	if !strings.HasPrefix(value, " ") {
		value = " " + value
	}
	a.fields = append(a.fields, dkim.Field{Name: name, Value: dkim.CRLF(value)})
}

// results are the Authentication-Results that it wrote.
func (a *answer) results() string {
	var b strings.Builder
	for _, f := range a.fields {
		if strings.EqualFold(f.Name, "Authentication-Results") {
			b.WriteString(f.Value + "\n")
		}
	}
	return b.String()
}

// refused says that the client is told no: 5yz or a rejection without words.
func (a *answer) refused() bool {
	return a.code == 'r' || a.code == 'y' && strings.HasPrefix(a.text, "5")
}

// check holds a server's answers against what they must be, so that a broken server cannot look fast.
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

// checkSigning has another library than ours verify what was signed.
func (w *world) checkSigning(s *server) error {
	for _, size := range []int{4 << 10, 100 << 10, 10 << 20} {
		m := letter(9999, size, user(), "ann@example.org")
		a, err := s.ask(m)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(a.fields, func(f dkim.Field) bool { return strings.EqualFold(f.Name, "DKIM-Signature") })
		if at < 0 {
			return fmt.Errorf("it did not sign: %q %q, %q", a.code, a.text, a.fields)
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
	forged := letter(9998, 4<<10, stranger(), "ceo@bank.example")
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
			return fmt.Errorf("a good message has no %s: %s %q, %q", word, strconv.QuoteRune(rune(a.code)), a.text, a.fields)
		}
	}
	if a, err = s.ask(&tampered); err != nil {
		return err
	}
	if text := a.results(); !a.refused() && (strings.Contains(text, "dkim=pass") || !strings.Contains(text, "dkim=")) {
		return fmt.Errorf("a changed body was not seen: %q %q, %q", a.code, a.text, a.fields)
	}
	if a, err = s.ask(forged); err != nil {
		return err
	}
	if s.spf && !a.refused() {
		return fmt.Errorf("a forged sender was not refused: %q %q, %q", a.code, a.text, a.fields)
	}
	return nil
}
