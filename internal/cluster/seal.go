package cluster

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
)

// siteKeyBytes is the size of a site key.
const siteKeyBytes = 32

// maxKeyFile is the maximum size of a key file in bytes.
const maxKeyFile = 64 << 10

// siteKey is one line of the key file. Each use has a key of its own.
type siteKey struct {
	id        string // the first 4 bytes of the SHA-256 of the key, in hex
	aead      cipher.AEAD
	mac       []byte
	messages  []byte // of which the keys of messages are derived
	index     []byte // of the hashes by which messages are found
	addresses []byte // of the words that replace addresses, if journal.addresses is hash
	items     []byte // of which the keys of items are derived
	bounces   []byte // the key of the envelope senders of reports
}

// SiteKeys are the keys that all hosts of a cluster share. There is more than one only while rows are sealed again under a new key.
type SiteKeys struct{ keys []siteKey }

// NewSiteKey returns a new line of a key file.
func NewSiteKey() string {
	key := make([]byte, siteKeyBytes)
	_, _ = rand.Read(key) // it never fails
	return base64.StdEncoding.EncodeToString(key) + "\n"
}

// ReadSiteKeys reads a key file. The error is fs.ErrNotExist if the file does not exist. The file must not be accessible to group or others.
func ReadSiteKeys(path string) (*SiteKeys, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if errno := syscall.Errno(0); errors.As(err, &errno) {
			err = fmt.Errorf("%s: %w", path, errno)
		}
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s is accessible to other users (mode %04o)\nhint: run chmod 0600 %s, and signpost cluster rekey if other users can log in to this host", path, fi.Mode().Perm(), path)
	}
	if owner := fi.Sys().(*syscall.Stat_t).Uid; owner != 0 && int(owner) != os.Geteuid() {
		return nil, fmt.Errorf("%s belongs to user ID %d\nhint: its owner must be root, or the user of this process", path, owner)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, err
	}
	k, err := ParseSiteKeys(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// ParseSiteKeys parses the lines of a key file. An error does not contain a key.
func ParseSiteKeys(data []byte) (*SiteKeys, error) {
	k := &SiteKeys{}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != siteKeyBytes {
			return nil, fmt.Errorf("line %d is not a site key: %d bytes in base64", n, siteKeyBytes)
		}
		derived, err := newSiteKey(key)
		if err != nil {
			return nil, err
		}
		if slices.Contains(k.IDs(), derived.id) {
			return nil, fmt.Errorf("line %d repeats a site key", n)
		}
		k.keys = append(k.keys, derived)
	}
	if len(k.keys) == 0 {
		return nil, errors.New("the file contains no site key")
	}
	return k, nil
}

func newSiteKey(key []byte) (k siteKey, err error) {
	var seal []byte
	for _, derived := range []struct {
		to  *[]byte
		use string
	}{{&seal, "seal"}, {&k.mac, "mac"}, {&k.messages, "messages"}, {&k.index, "index"}, {&k.addresses, "addresses"}, {&k.items, "items"}, {&k.bounces, "bounces"}} {
		if *derived.to, err = hkdf.Key(sha256.New, key, nil, "signpost cluster "+derived.use, siteKeyBytes); err != nil {
			return k, err
		}
	}
	block, err := aes.NewCipher(seal)
	if err != nil {
		return k, err
	}
	id := sha256.Sum256(key)
	k.id = hex.EncodeToString(id[:4])
	k.aead, err = cipher.NewGCM(block)
	return k, err
}

// IDs returns the IDs of the keys, in the order of the file.
func (k *SiteKeys) IDs() []string {
	var ids []string
	for _, key := range k.keys {
		ids = append(ids, key.id)
	}
	return ids
}

func (k *SiteKeys) newest() siteKey { return k.keys[len(k.keys)-1] }

// common returns the newest key that each list of IDs contains, or else the oldest key.
func (k *SiteKeys) common(lists [][]string) siteKey {
	for _, key := range slices.Backward(k.keys) {
		if !slices.ContainsFunc(lists, func(ids []string) bool { return !slices.Contains(ids, key.id) }) {
			return key
		}
	}
	return k.keys[0]
}

// payload is the sealed content of a row of sp_key.
type payload struct {
	Metadata json.RawMessage `json:"metadata"` // the content of SELECTOR.json; null for an unmanaged key
	PEM      string          `json:"pem"`
	Deleted  bool            `json:"deleted"` // the domain was removed
	Born     int64           `json:"born"`    // the version in which the private key first was in a row
	Stopped  int64           `json:"stopped"` // the version in which the key first was retired or later; 0: it is not
}

// fields returns a byte string that contains the fields unambiguously.
func fields(all ...string) []byte {
	var b []byte
	for _, f := range all {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	return b
}

func number(n int64) string { return string(binary.BigEndian.AppendUint64(nil, uint64(n))) }

// place returns the associated data of a sealed row: a row is valid only in its place and with its version.
func place(site, domain, selector string, version int64) []byte {
	return fields(site, domain, selector, number(version))
}

func (k siteKey) seal(site, domain, selector string, version int64, p payload) ([]byte, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, k.aead.NonceSize())
	_, _ = rand.Read(nonce) // it never fails
	return k.aead.Seal(nonce, nonce, text, place(site, domain, selector, version)), nil
}

// errForged is the error of a row that was not written by a host of this cluster, or that was moved or changed since.
var errForged = errors.New("it was not written by a host of this cluster in this place and version")

// errUnknownKey is the error of a row whose site key this host does not have.
var errUnknownKey = errors.New("this host does not have its site key")

func (k *SiteKeys) find(id string) (siteKey, error) {
	i := slices.IndexFunc(k.keys, func(key siteKey) bool { return key.id == id })
	if i < 0 {
		return siteKey{}, errUnknownKey
	}
	return k.keys[i], nil
}

// unseal returns errUnknownKey or errForged if the row does not verify.
func (k *SiteKeys) unseal(site, domain, selector string, version int64, keyID string, sealed []byte) (p payload, err error) {
	key, err := k.find(keyID)
	if err != nil {
		return p, err
	}
	n := key.aead.NonceSize()
	if len(sealed) < n {
		return p, errForged
	}
	text, err := key.aead.Open(nil, sealed[:n], sealed[n:], place(site, domain, selector, version))
	if err != nil {
		return p, errForged
	}
	return decodePayload(text)
}

func decodePayload(text []byte) (p payload, err error) {
	if err := json.Unmarshal(text, &p); err != nil {
		return payload{}, errors.New("its content is not valid")
	}
	if string(p.Metadata) == "null" {
		p.Metadata = nil
	}
	return p, nil
}

func (k siteKey) sum(parts ...string) string {
	h := hmac.New(sha256.New, k.mac)
	h.Write(fields(parts...))
	return hex.EncodeToString(h.Sum(nil))
}

func (k siteKey) ruleMAC(site string, id RuleID, version int64, body string) string {
	return k.sum("rule", site, id.Kind, id.Name, number(version), body)
}

func (k siteKey) hostMAC(site string, h hostRow) string {
	return k.sum("host", site, h.name, number(h.version), h.keyIDs, h.program, number(h.clock), number(h.seq))
}

func (k siteKey) leaseMAC(site, holder string, epoch int64) string {
	return k.sum("lease", site, leaseName, holder, number(epoch))
}

// verify reports whether one of the keys has made the MAC.
func (k *SiteKeys) verify(mac string, sum func(siteKey) string) bool {
	return slices.ContainsFunc(k.keys, func(key siteKey) bool { return hmac.Equal([]byte(mac), []byte(sum(key))) })
}
