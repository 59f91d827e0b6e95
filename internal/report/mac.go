package report

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"signpost/internal/domain"
	"signpost/internal/durable"
)

// Key is the secret of the envelope senders. All hosts of a site share it.
type Key []byte

const (
	keyBytes = 32
	macBytes = 20 // 32 characters, so that the local part has 34; RFC 5321 allows 64. The second half is a MAC of the first
	macText  = macBytes * 8 / 5
	// macPrefix begins the local part of an envelope sender.
	macPrefix = "r-"
)

// ReadKey reads the key file at path: 64 hexadecimal digits.
func ReadKey(path string) (Key, error) { return readKey(path, false) }

// LoadKey reads the key file at path like ReadKey. If there is no file, it creates one with a random key and mode 0600. Its directory must
// exist.
func LoadKey(path string) (Key, error) { return readKey(path, true) }

func readKey(path string, create bool) (Key, error) {
	dir, err := durable.OpenDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	name := filepath.Base(path)
	text, err := durable.Read(dir, name, 4*keyBytes)
	if create && errors.Is(err, fs.ErrNotExist) {
		fresh := make([]byte, keyBytes)
		rand.Read(fresh)
		text = hex.AppendEncode(nil, fresh)
		err = durable.Write(dir, name, append(bytes.Clone(text), '\n'), 0o600, func(f *os.File) error { return f.Chmod(0o600) })
	}
	if err != nil {
		return nil, durable.PathError(path, err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != keyBytes {
		return nil, fmt.Errorf("%s: it must have %d hexadecimal digits", path, 2*keyBytes)
	}
	return key, nil
}

// MAC returns the MAC of a report to a destination: 32 letters and digits in lower case. The case of the destination does not matter.
func (k Key) MAC(destination, id string) string {
	mac := hmac.New(sha256.New, k)
	fmt.Fprintf(mac, "signpost report bounce 1\n%s\n%s", strings.ToLower(destination), id)
	first := base32Lower(mac.Sum(nil)[:macBytes/2])
	return first + k.second(first)
}

// second returns the second half of a MAC.
func (k Key) second(first string) string {
	mac := hmac.New(sha256.New, k)
	fmt.Fprintf(mac, "signpost report address 1\n%s", first)
	return base32Lower(mac.Sum(nil)[:macBytes/2])
}

// Made reports whether MAC may have returned mac, for any report and destination: a bounce to another address need not be kept. Case does
// not matter.
func (k Key) Made(mac string) bool {
	mac = strings.ToLower(mac)
	return len(mac) == macText && hmac.Equal([]byte(mac[macText/2:]), []byte(k.second(mac[:macText/2])))
}

// EnvelopeSender returns the envelope sender of a report: r-MAC@domain.
func EnvelopeSender(mac, domain string) string { return macPrefix + mac + "@" + domain }

// ParseEnvelopeSender returns the MAC in the recipient of a bounce, in lower case. ok is false if the recipient is not an envelope sender
// in this domain. Case does not matter.
func ParseEnvelopeSender(recipient, in string) (mac string, ok bool) {
	if len(recipient) > len(macPrefix)+macText+1+maxName {
		return "", false
	}
	local, host, _ := strings.Cut(strings.ToLower(recipient), "@")
	mac, ok = strings.CutPrefix(local, macPrefix)
	if !ok || len(mac) != macText || strings.Trim(mac, "abcdefghijklmnopqrstuvwxyz234567") != "" || domain.Fold(host) != domain.Fold(in) {
		return "", false
	}
	return mac, true
}
