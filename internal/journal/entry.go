package journal

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"

	"signpost/internal/decision"
	"signpost/internal/dmarc"
	"signpost/policy"
)

// Entry is one message in the journal.
type Entry struct {
	ID   int64     `json:"id"` // unique, and greater than the IDs of earlier messages
	Time time.Time `json:"time"`
	Cut  bool      `json:"cut,omitempty"` // the evidence was too large and was cut
	decision.Record
}

// Domain returns the first Author Domain. If there is none, it returns the domain of MAIL FROM.
func (e *Entry) Domain() string {
	if a := e.Author.Domains; len(a) > 0 {
		return a[0]
	}
	_, domain, _ := cutAddress(e.Sender)
	return strings.ToLower(domain)
}

// Addr returns the address of the client, or "unknown".
func (e *Entry) Addr() string {
	if a := e.Client; a.IsValid() {
		return a.Unmap().String()
	}
	return "unknown"
}

// Outcome has the words by which messages are filtered and counted. A journal has some hundred different outcomes.
type Outcome struct {
	Role, Action, SPF, DKIM, DMARC, ARC string // words; empty: not checked
	Observed                            bool   // the message arrived in observe mode, so the action was not carried out
}

// Failed reports whether the message counts as failed. That is so if the action is tag or stricter, or if DMARC resulted in fail or an
// error.
func (o Outcome) Failed() bool {
	switch policy.Action(o.Action) {
	case policy.Tag, policy.Hold, policy.Discard, policy.Tempfail, policy.Reject:
		return true
	}
	return o.DMARC == "fail" || o.DMARC == "temperror" || o.DMARC == "permerror"
}

// Outcome returns the outcome of a message. DKIM is the best result of its signatures.
func (e *Entry) Outcome() Outcome {
	o := Outcome{Role: string(e.Role), Action: string(e.Decided()), Observed: e.Observe}
	ev := &e.Evidence
	if ev.SPF != nil {
		o.SPF = string(ev.SPF.Status)
	}
	for i, d := range ev.DKIM {
		if word := string(d.Status); i == 0 || word == "pass" {
			o.DKIM = word
		}
	}
	if e.Role == policy.RoleVerify && len(ev.DKIM) == 0 {
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

// hash returns the number that represents a queue ID, a Message-ID or a text in an index. It is a cryptographic hash, so that a sender
// cannot create two texts with the same number.
func hash(s string) int64 {
	var b [512]byte // few texts are longer, and need memory on the heap
	sum := sha256.Sum256(append(b[:0], s...))
	return int64(binary.BigEndian.Uint64(sum[:]))
}

// dictionary1 and dictionary2 are compression dictionaries with strings that are frequent in entries of version 1 and 2. They must never
// change, because entries that were written with them could then no longer be read.
var (
	//go:embed dictionary.txt
	dictionary1 []byte
	//go:embed dictionary2.txt
	dictionary2 []byte
)

// magic begins an entry of version 2 and later. The version and the CRC-32 of the JSON follow. An entry of version 1 begins with its length,
// which is not zero.
const magic = "\x00"

// codec packs and unpacks entries. A packed entry has a few hundred bytes, mostly names.
type codec struct {
	old, dictionary *s2.Dict
	text, packed    []byte // buffers of encode
}

// maxDecoded limits the unpacked size of an entry, in bytes. The oldest entries had no other limit.
const maxDecoded = 16 << 20

func newCodec() *codec {
	return &codec{old: s2.MakeDict(dictionary1, nil), dictionary: s2.MakeDict(dictionary2, nil)}
}

// encode returns a packed entry, which is valid until the next call.
func (c *codec) encode(e *Entry) ([]byte, error) {
	text, err := c.marshal(e)
	if err != nil {
		return nil, err
	}
	return c.compress(text), nil
}

// marshal returns the JSON of an entry, which is valid until the next call.
func (c *codec) marshal(e *Entry) (_ []byte, err error) {
	if c.text, err = appendEntry(c.text[:0], e); err != nil {
		return nil, fmt.Errorf("encoding an entry: %w", err)
	}
	return c.text, nil
}

// compress returns the packed entry with a JSON text. It is valid until the next call.
func (c *codec) compress(text []byte) []byte {
	const head = len(magic) + 1 + crc32.Size
	if need := head + s2.MaxEncodedLen(len(text)); cap(c.packed) < need {
		c.packed = make([]byte, need)
	}
	packed := append(c.packed[:0], magic...)
	packed = append(packed, decision.Version)
	packed = binary.BigEndian.AppendUint32(packed, crc32.ChecksumIEEE(text))
	return packed[:head+len(c.dictionary.Encode(packed[head:cap(packed)], text))]
}

func (c *codec) decode(packed []byte) (e Entry, err error) {
	e, _, err = c.decodeIf(packed, func([]byte) bool { return true })
	return e, err
}

// decodeIf decodes an entry if wanted returns true for its JSON. wanted is not called for an entry of version 1. decoded reports whether the
// entry was decoded.
func (c *codec) decodeIf(packed []byte, wanted func(text []byte) bool) (e Entry, decoded bool, err error) {
	rest, current := bytes.CutPrefix(packed, []byte(magic))
	switch {
	case !current:
		var text []byte
		if text, err = unpack(c.old, packed); err == nil {
			e, err = decodeVersion1(text)
		}
	case len(rest) == 0 || rest[0] != decision.Version:
		err = errors.New("it was written by a later version of Signpost")
	case len(rest) < 1+crc32.Size:
		err = errDamaged
	default:
		var text []byte
		text, err = unpack(c.dictionary, rest[1+crc32.Size:])
		if err == nil && crc32.ChecksumIEEE(text) != binary.BigEndian.Uint32(rest[1:]) {
			err = errDamaged
		}
		if err == nil && !wanted(text) {
			return e, false, nil
		}
		if err == nil {
			err = json.Unmarshal(text, &e)
		}
	}
	if err != nil {
		err = fmt.Errorf("decoding an entry: %w", err)
	}
	return e, err == nil, err
}

// errDamaged is the error of an entry whose checksum does not match.
var errDamaged = errors.New("it is damaged: its checksum does not match")

func unpack(dictionary *s2.Dict, packed []byte) ([]byte, error) {
	n, err := s2.DecodedLen(packed)
	if err != nil {
		return nil, err
	}
	if n > maxDecoded {
		return nil, fmt.Errorf("it is larger than %d bytes", maxDecoded)
	}
	return dictionary.Decode(nil, packed)
}
