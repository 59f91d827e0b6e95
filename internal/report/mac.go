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
	"slices"
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

// Keys are the keys in a file. The first is the present one. The others were replaced, but bounces of reports that were sent with them are still
// accepted.
type Keys []Key

// maxKeys is the maximum number of keys in a file.
const maxKeys = 4

// Made reports whether one of the keys may have returned mac: see Key.Made.
func (k Keys) Made(mac string) bool {
	return slices.ContainsFunc(k, func(one Key) bool { return one.Made(mac) })
}

// ReadKeys reads the key file at path: lines of 64 hexadecimal digits.
func ReadKeys(path string) (Keys, error) { return readKeys(path, nil) }

// LoadKey reads the key file at path, and returns the first key. If there is no file, it creates one with a random key and mode 0600. Its
// directory must exist.
func LoadKey(path string) (Key, error) {
	keys, err := readKeys(path, func(present Keys) Keys {
		if len(present) > 0 {
			return present
		}
		fresh := make(Key, keyBytes)
		rand.Read(fresh)
		return Keys{fresh}
	})
	if err != nil {
		return nil, err
	}
	return keys[0], nil
}

// ReplaceKey makes a key of 64 hexadecimal digits the first one in the file at path, and returns it. The former keys stay in the file.
func ReplaceKey(path, text string) (Key, error) {
	key, err := parseKey(text)
	if err != nil {
		return nil, err
	}
	_, err = readKeys(path, func(present Keys) Keys {
		if len(present) > 0 && bytes.Equal(present[0], key) {
			return present
		}
		others := slices.DeleteFunc(slices.Clone(present), func(k Key) bool { return bytes.Equal(k, key) })
		return append(Keys{key}, others[:min(len(others), maxKeys-1)]...)
	})
	return key, err
}

// readKeys reads a key file. If change is not nil, it writes the keys that change returns to the file. No file has no keys for change.
func readKeys(path string, change func(Keys) Keys) (Keys, error) {
	dir, err := durable.OpenDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	name := filepath.Base(path)
	text, err := durable.Read(dir, name, maxKeys*4*keyBytes)
	if err != nil && (change == nil || !errors.Is(err, fs.ErrNotExist)) {
		return nil, durable.PathError(path, err)
	}
	var keys Keys
	for line := range strings.Lines(string(text)) {
		key, err := parseKey(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		keys = append(keys, key)
	}
	if err == nil && len(keys) == 0 {
		return nil, fmt.Errorf("%s: it must have %d hexadecimal digits", path, 2*keyBytes)
	}
	if change == nil {
		return keys, nil
	}
	next := change(keys)
	if slices.EqualFunc(next, keys, func(a, b Key) bool { return bytes.Equal(a, b) }) {
		return keys, nil
	}
	var lines []byte
	for _, key := range next {
		lines = append(hex.AppendEncode(lines, key), '\n')
	}
	if err := durable.Write(dir, name, lines, 0o600, func(f *os.File) error { return f.Chmod(0o600) }); err != nil {
		return nil, durable.PathError(path, err)
	}
	return next, nil
}

func parseKey(text string) (Key, error) {
	key, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || len(key) != keyBytes {
		return nil, fmt.Errorf("each line must have %d hexadecimal digits", 2*keyBytes)
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
