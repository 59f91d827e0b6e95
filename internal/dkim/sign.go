package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Key signs for a domain with a selector.
type Key struct {
	Domain   string        // d=, lower-case A-labels
	Selector string        // s=
	Signer   crypto.Signer // an RSA or Ed25519 key; it may be in memory or in a device
}

// name returns the DNS name of the key's record.
func (k Key) name() string { return k.Selector + "._domainkey." + k.Domain }

// Algorithm returns the value of a=, or "" if DKIM does not support the type of the key.
func (k Key) Algorithm() string {
	switch k.Signer.Public().(type) {
	case *rsa.PublicKey:
		return "rsa-sha256"
	case ed25519.PublicKey:
		return "ed25519-sha256"
	}
	return ""
}

// oversigning states in which messages a name is oversigned. An oversigned name appears in h= one more time than the message has fields of
// that name. A field that is added later then breaks the signature (RFC 6376 sections 5.4.2 and 8.15).
type oversigning uint8

const (
	always    oversigning = iota // oversigned even if the message has no such field
	ifPresent                    // oversigned if the message has such a field; relays add a missing field
	never                        // not oversigned: lists and resenders may add such fields
)

// signedName states how the header fields with one name are signed.
type signedName struct {
	name     string
	oversign oversigning
	core     bool // signed even if a line is longer than MaxLine: the field affects what a reader sees
}

// signedNames are the names to sign in their order in h= (RFC 6376 section 5.4.1; RFC 8058 section 4 for the List-Unsubscribe
// fields). RFC 6409 section 8 lets a submission server add Date and Message-ID. Some servers add MIME-Version. They then also add
// Content-Type and Content-Transfer-Encoding.
func signedNames() [27]signedName {
	return [...]signedName{
		{"From", always, true}, {"Reply-To", always, true}, {"Subject", always, true}, {"Date", ifPresent, true},
		{"To", ifPresent, true}, {"Cc", always, true}, {"Message-ID", ifPresent, false}, {"In-Reply-To", always, false},
		{"References", always, false}, {"MIME-Version", ifPresent, true}, {"Content-Type", ifPresent, true},
		{"Content-Transfer-Encoding", ifPresent, true}, {"List-Unsubscribe", always, false},
		{"List-Unsubscribe-Post", always, false},
		{"Sender", never, false}, {"Resent-From", never, false}, {"Resent-Sender", never, false},
		{"Resent-Reply-To", never, false}, {"Resent-Date", never, false}, {"Resent-To", never, false}, {"Resent-Cc", never, false},
		{"Resent-Message-ID", never, false}, {"List-Id", never, false}, {"List-Help", never, false}, {"List-Post", never, false},
		{"List-Owner", never, false}, {"List-Archive", never, false},
	}
}

// Signer signs one message with any number of keys in one pass: call NewSigner with the header, Write for the body, and Sign at the
// end. Signatures are relaxed/relaxed and cover the whole body; l= is not supported.
type Signer struct {
	keys   []Key
	header []byte // the signed fields in canonical form, in the order of names
	names  []string
	body   body
	lines  lineMeter // of the body
	long   LongLines // of the header
	absent []string
	time   time.Time
	expire time.Duration
}

// NewSigner returns a Signer for a message with these header fields (top to bottom). t= is now, and x= is now plus expire. If expire is
// 0, there is no x=. The error wraps a *Fault.
func NewSigner(fields []Field, keys []Key, now time.Time, expire time.Duration) (*Signer, error) {
	for _, k := range keys {
		if k.Algorithm() == "" {
			return nil, fmt.Errorf("%s: %w", k.name(), &Fault{UnsupportedKeyType, fmt.Sprintf("%T", k.Signer.Public())})
		}
	}
	s := &Signer{keys: keys, time: now, expire: expire, body: body{canon: relaxed, sink: newSink(nil)}}
	x := newIndex(fields)
	s.names = make([]string, 0, usualNames)
	s.header = make([]byte, 0, headerBuffer)
	for _, n := range signedNames() {
		s.cover(n, fields, &x)
	}
	if len(s.names) > MaxSignedNames {
		return nil, &Fault{TooManyFieldsToSign, strconv.Itoa(len(s.names))}
	}
	return s, nil
}

// usualNames is the initial capacity for the names in h=.
const usualNames = 32

// cover adds all fields of a name, the lowest first (RFC 6376 section 5.4.2). If the name is oversigned, cover adds the name one more time.
// A name that is not core is omitted if one of its fields has a line that a server would break.
func (s *Signer) cover(n signedName, fields []Field, x *index) {
	var lower [32]byte
	lowest := x.lowest(string(appendLower(lower[:0], n.name)))
	if lowest < 0 && n.oversign != always {
		if n.name == "Date" || n.name == "Message-ID" { // RFC 5322 section 3.6
			s.absent = append(s.absent, n.name)
		}
		return
	}
	longest := 0
	for i := lowest; i >= 0; i = x.above[i] {
		longest = max(longest, longestLine(fields[i]))
	}
	switch {
	case longest <= MaxLine:
	case n.core:
		s.long.add(longest, n.name)
	default:
		s.long.Unsigned = append(s.long.Unsigned, n.name)
		return
	}
	for i := lowest; i >= 0; i = x.above[i] {
		s.names = append(s.names, n.name)
		s.header = relaxed.appendField(s.header, fields[i])
	}
	if n.oversign != never {
		s.names = append(s.names, n.name)
	}
}

// Write adds the next part of the body. It never fails.
func (s *Signer) Write(p []byte) (int, error) {
	s.lines.write(p)
	return s.body.Write(p)
}

// Absent returns the names of missing fields that every message should have: Date and Message-ID (RFC 5322 section 3.6). h= does not list
// a missing field of these names, because relays add such fields.
func (s *Signer) Absent() []string { return s.absent }

// LongLines describes the lines that are longer than MaxLine, in the header and in the body so far.
func (s *Signer) LongLines() LongLines {
	long := s.long
	if n := s.lines.longest(); n > MaxLine {
		long.add(n, "")
	}
	return long
}

// Sign ends the message and returns one field for each key, in the order of the keys. The error wraps a *Fault.
func (s *Signer) Sign() ([]Field, error) {
	s.body.close()
	signatures := make([]Field, 0, len(s.keys))
	for _, k := range s.keys {
		unsigned := Field{Name: SignatureField, Value: s.tags(k)}
		data := make([]byte, 0, len(s.header)+len(unsigned.Name)+len(unsigned.Value)+len(":\r\n"))
		data = relaxed.appendField(append(data, s.header...), unsigned)
		sum := sha256.Sum256(data[:len(data)-2])
		// RFC 8463 section 3: for Ed25519, the hash is the message to sign.
		hash := crypto.Hash(0)
		if k.Algorithm() == "rsa-sha256" {
			hash = crypto.SHA256
		}
		value, err := k.Signer.Sign(rand.Reader, sum[:], hash)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", &Fault{SigningFailed, k.name()}, err)
		}
		b := base64.StdEncoding.EncodeToString(value)
		signatures = append(signatures, Field{Name: SignatureField, Value: unsigned.Value + foldBase64(b)})
	}
	return signatures, nil
}

// lineLength is the length in bytes at which lines of a signature are folded: RFC 5322 section 2.1.1 recommends at most 78.
const lineLength = 76

// tags returns the value of the field up to and including "b=", folded, with its leading space.
func (s *Signer) tags(k Key) string {
	f := folder{col: len(SignatureField) + 1}
	f.b.Grow(headerBuffer / 2)
	f.add(" v=1; a=", k.Algorithm(), "; c=relaxed/relaxed;")
	f.add(" d=", k.Domain, ";")
	f.add(" s=", k.Selector, ";")
	f.add(" t=", strconv.FormatInt(s.time.Unix(), 10), ";")
	if s.expire > 0 {
		f.add(" x=", strconv.FormatInt(s.time.Add(s.expire).Unix(), 10), ";")
	}
	for i, name := range s.names {
		switch i {
		case 0:
			f.add(" h=", name)
		default:
			f.add(":", name)
		}
	}
	f.add(";")
	f.add(" bh=", base64.StdEncoding.EncodeToString(s.body.sink.total), ";")
	f.newLine()
	f.b.WriteString("b=")
	return f.b.String()
}

// folder folds text into lines. The leading space of a part is removed at the start of a line.
type folder struct {
	b   strings.Builder
	col int
}

// add adds strings that stay on one line. It does not begin a new line for a ";" alone.
func (f *folder) add(parts ...string) {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if f.col+size > lineLength && parts[0] != ";" {
		f.newLine()
		if first := strings.TrimPrefix(parts[0], " "); first != parts[0] {
			parts[0] = first
			size--
		}
	}
	for _, p := range parts {
		f.b.WriteString(p)
	}
	f.col += size
}

func (f *folder) newLine() {
	f.b.WriteString("\r\n\t")
	f.col = 8
}

func foldBase64(s string) string {
	var b strings.Builder
	b.Grow(len(s) + len(s)/(lineLength-10)*len("\r\n\t"))
	for first := true; s != ""; first = false {
		n := min(len(s), lineLength-8)
		if first {
			n = min(n, lineLength-10)
		} else {
			b.WriteString("\r\n\t")
		}
		b.WriteString(s[:n])
		s = s[n:]
	}
	return b.String()
}
