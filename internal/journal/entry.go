package journal

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"

	"signpost/internal/dmarc"
	"signpost/internal/filter"
	"signpost/policy"
)

// Entry is one message.
type Entry struct {
	ID   int64     `json:"id"` // unique, and greater than those of earlier messages
	Time time.Time `json:"time"`
	Cut  bool      `json:"cut,omitempty"` // the evidence was too large and was cut
	filter.Report
}

// Word returns the word for what was done, or would have been done in observe mode: one of filter.Dispositions.
func (e *Entry) Word() string {
	word, _, _ := strings.Cut(e.Done, " ")
	return word
}

// Domain returns the first Author Domain. If there is none, it returns the domain of the sender.
func (e *Entry) Domain() string {
	if a := e.Evidence.Author.Domains; len(a) > 0 {
		return a[0]
	}
	_, domain, _ := cutAddress(e.Evidence.Envelope.Sender)
	return strings.ToLower(domain)
}

// Client returns the address of the client, or "unknown".
func (e *Entry) Client() string {
	if a := e.Evidence.Connection.Client; a.IsValid() {
		return a.Unmap().String()
	}
	return "unknown"
}

// Outcome is what messages are filtered and counted by. A journal has some hundred different ones.
type Outcome struct {
	Role, Verdict, SPF, DKIM, DMARC, ARC string // words; empty: not checked
	Observed                             bool   // in observe mode: the verdict was not carried out
}

// Failed reports whether the message was not simply accepted or signed, or DMARC did not pass.
func (o Outcome) Failed() bool {
	switch o.Verdict {
	case "tagged", "held", "deferred", "refused":
		return true
	}
	return o.DMARC == "fail" || o.DMARC == "temperror" || o.DMARC == "permerror"
}

// Outcome returns the outcome of a message. DKIM is the best result of its signatures.
func (e *Entry) Outcome() Outcome {
	o := Outcome{Role: string(e.Assignment.Role), Verdict: e.Word(), Observed: e.Observe}
	ev := &e.Evidence
	if ev.SPF != nil {
		o.SPF = string(ev.SPF.Status)
	}
	for i, d := range ev.DKIM {
		if word := string(d.Status); i == 0 || word == "pass" {
			o.DKIM = word
		}
	}
	if e.Assignment.Role == policy.Verify && len(ev.DKIM) == 0 {
		o.DKIM = "none"
	}
	for _, worst := range []dmarc.Status{dmarc.Fail, dmarc.TempError, dmarc.PermError, dmarc.None, dmarc.Pass} { // the worst decides
		if slices.ContainsFunc(ev.DMARC, func(d dmarc.Result) bool { return d.Status == worst }) {
			o.DMARC = string(worst)
			break
		}
	}
	if ev.ARC != nil {
		o.ARC = string(ev.ARC.Status)
	}
	return o
}

// hash returns the number under which a queue ID, a Message-ID or a text is found. It is cryptographic, so that a sender cannot
// make a text with the hash of another.
func hash(s string) int64 {
	sum := sha256.Sum256([]byte(s))
	return int64(binary.BigEndian.Uint64(sum[:]))
}

// words are strings that occur in entries; those near the end are found the fastest. They must never change once a release has
// written entries with them: those could no longer be read. Entries of version 1 were written with words1.
var (
	//go:embed dictionary.txt
	words1 []byte
	//go:embed dictionary2.txt
	words []byte
)

// version2 is the first byte of an entry that was packed with words. Entries of version 1 begin with their size, which is not 0.
const version2 = 0

// codec packs entries: into a few hundred bytes, of which most are names.
type codec struct {
	dictionary  *s2.Dict
	dictionary1 *s2.Dict // of words1
	text        bytes.Buffer
	json        *json.Encoder // into text
	packed      []byte
}

// maxDecoded bounds the size in bytes that an entry may claim. Entries of earlier versions had no bound on their parts.
const maxDecoded = 16 << 20

func newCodec() *codec {
	c := &codec{dictionary: s2.MakeDict(words, nil), dictionary1: s2.MakeDict(words1, nil)}
	c.json = json.NewEncoder(&c.text)
	c.json.SetEscapeHTML(false)
	return c
}

// encode returns a packed entry, which is valid until the next call.
func (c *codec) encode(e *Entry) ([]byte, error) {
	c.text.Reset()
	if err := c.json.Encode(e); err != nil {
		return nil, err
	}
	if need := 1 + s2.MaxEncodedLen(c.text.Len()); len(c.packed) < need {
		c.packed = make([]byte, need)
	}
	c.packed[0] = version2
	n := len(c.dictionary.Encode(c.packed[1:], c.text.Bytes()))
	return c.packed[:1+n], nil
}

func (c *codec) decode(packed []byte) (e Entry, err error) {
	dictionary := c.dictionary1
	if len(packed) > 0 && packed[0] == version2 {
		packed, dictionary = packed[1:], c.dictionary
	}
	n, err := s2.DecodedLen(packed)
	if err == nil && n > maxDecoded {
		err = errTooLarge
	}
	var text []byte
	if err == nil {
		text, err = dictionary.Decode(nil, packed)
	}
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if err != nil {
		err = fmt.Errorf("no entry: %w", err)
	}
	return e, err
}

var errTooLarge = fmt.Errorf("it is larger than %d bytes", maxDecoded)
