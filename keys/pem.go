package keys

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxPEM bounds what is read as a key: an RSA key of 8192 bits has 6.5 KiB.
const maxPEM = 64 << 10

// readPEM reads a private key file, PKCS#8 or PKCS#1. It is refused when anybody but its owner and a group of ours can read
// it. The key's octets never stand in an error.
func readPEM(path string) (crypto.Signer, error) {
	f, err := openPEM(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPEM))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	signer, err := parsePEM(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return signer, nil
}

// seePEM is what readPEM has against the file itself; it does not read it.
func seePEM(path string) error {
	f, err := openPEM(path)
	if err != nil {
		return err
	}
	return f.Close()
}

func openPEM(path string) (*os.File, error) {
	f, err := os.Open(path)
	if target, linkErr := os.Readlink(path); linkErr == nil && errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w; it is a link to %q: a daemon that runs opens links into other folders only after a restart", err, target)
	}
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil {
		err = checkPrivate(path, fi)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func parsePEM(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("holds no PEM block; a private key in PKCS#8 or PKCS#1 is needed, as openssl genpkey writes it")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return nil, errors.New("the key is encrypted; write it without a passphrase")
		}
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("the key is encrypted; write it without a passphrase")
	default:
		return nil, fmt.Errorf("holds a PEM block of type %q; a private key in PKCS#8 or PKCS#1 is needed", block.Type)
	}
	if err != nil {
		return nil, errors.New("the private key is damaged or of a kind that DKIM does not know")
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		// RFC 8301 section 3.2.
		if bits := key.N.BitLen(); bits < 1024 {
			return nil, fmt.Errorf("the RSA key has %d bits; nobody may accept less than 1024 (RFC 8301)", bits)
		}
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, errors.New("the key is neither RSA nor Ed25519")
}

// checkPrivate refuses a key that the world can read or change, or that a group can which is neither this process's nor
// the folder's. systemd shows credentials to a service with modes of its own.
func checkPrivate(path string, fi fs.FileInfo) error {
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		if real, err := filepath.EvalSymlinks(path); err == nil && strings.HasPrefix(real, filepath.Clean(dir)+"/") {
			return nil
		}
	}
	if fi.Mode().Perm()&0o007 != 0 {
		return fmt.Errorf("%s is open to everybody (mode %04o); chmod 0600 it, and take a new key if others have logins here", path, fi.Mode().Perm())
	}
	if fi.Mode().Perm()&0o070 == 0 {
		return nil
	}
	gid := int(fi.Sys().(*syscall.Stat_t).Gid)
	if gid == os.Getegid() {
		return nil
	}
	if dir, err := os.Stat(filepath.Dir(path)); err == nil && int(dir.Sys().(*syscall.Stat_t).Gid) == gid {
		return nil
	}
	return fmt.Errorf("%s is open to group %d, which is not the keys folder's (mode %04o); chmod 0600 it", path, gid, fi.Mode().Perm())
}
