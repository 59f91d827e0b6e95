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

	"signpost/internal/durable"
)

// maxPEM limits the size of a key file in bytes: an RSA key of 8192 bits has 6.5 KiB.
const maxPEM = 64 << 10

// readPEM reads a private key file in PKCS#8 or PKCS#1 format. It returns an error if the mode of the file is not private: see
// checkPrivate. An error never contains a byte of the key.
func (d domainDir) readPEM(name string) (crypto.Signer, error) {
	f, err := d.openPEM(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	path := filepath.Join(d.path, name)
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

// private reads the private key of a selector.
func (s Store) private(domain, selector string) (crypto.Signer, error) {
	dir, err := s.tree().Open(s.domainDir(domain))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return domainDir{dir: dir, path: s.domainDir(domain)}.readPEM(selector + ".pem")
}

// checkPEM does the checks of readPEM that do not read the file.
func (d domainDir) checkPEM(name string) error {
	f, err := d.openPEM(name)
	if err != nil {
		return err
	}
	return f.Close()
}

// credentialError is the error of a key that is a systemd credential, which this process cannot read.
type credentialError struct{ path string }

func (e *credentialError) Error() string {
	return e.path + " is a systemd credential, which only the daemon can read"
}

func (d domainDir) openPEM(name string) (*os.File, error) {
	path := filepath.Join(d.path, name)
	const flags = os.O_RDONLY | syscall.O_NONBLOCK // a FIFO must not block
	f, err := d.dir.OpenFile(name, flags, 0)
	if fi, linkErr := d.dir.Lstat(name); err != nil && linkErr == nil && fi.Mode()&fs.ModeSymlink != 0 {
		f, err = d.openLink(name, flags)
	}
	if err != nil {
		return nil, durable.PathError(path, err)
	}
	fi, err := f.Stat()
	if err == nil {
		err = d.checkPrivate(path, fi)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// statPEM returns the file info of a key. If the key is a link that root does not follow, statPEM returns the file info of the link.
func (d domainDir) statPEM(name string) (fs.FileInfo, error) {
	if fi, err := d.dir.Stat(name); err == nil {
		return fi, nil
	}
	if os.Geteuid() != 0 {
		return os.Stat(filepath.Join(d.path, name))
	}
	return d.dir.Lstat(name)
}

// openLink opens a key that is a link to a file outside of the tree. If this process runs as root, it follows only links that root owns.
// The key is only read, so the owner of the directory gains nothing by replacing the link in the meantime.
func (d domainDir) openLink(name string, flags int) (*os.File, error) {
	path := filepath.Join(d.path, name)
	target, err := d.dir.Readlink(name)
	if err != nil {
		return nil, err
	}
	credential := strings.HasPrefix(filepath.Clean(target), "/run/credentials/")
	if fi, err := d.dir.Lstat(name); err != nil {
		return nil, err
	} else if os.Geteuid() == 0 && fi.Sys().(*syscall.Stat_t).Uid != 0 && !credential {
		return nil, &durable.RootLinkError{Path: path}
	}
	f, err := os.OpenFile(path, flags, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist) && credential:
		return nil, &credentialError{path}
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w; it is a link to %q: the daemon must be restarted to open links to other directories", err, target)
	}
	return f, err
}

func parsePEM(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM block found; expected a private key in PKCS#8 or PKCS#1 format, as openssl genpkey writes it")
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
		return nil, fmt.Errorf("PEM block of type %q found; expected a private key in PKCS#8 or PKCS#1 format", block.Type)
	}
	if err != nil {
		return nil, errors.New("the private key is damaged or of a type that DKIM does not support")
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		// RFC 8301 section 3.2.
		if bits := key.N.BitLen(); bits < 1024 {
			return nil, fmt.Errorf("the RSA key has %d bits; verifiers must not accept less than 1024 (RFC 8301)", bits)
		}
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, errors.New("the key is neither RSA nor Ed25519")
}

// checkPrivate returns an error if a key file is accessible to other users. It also returns an error if the file is accessible to a group
// that is neither a group of this process nor the group of the directory. It does not check the modes of systemd credentials.
func (d domainDir) checkPrivate(path string, fi fs.FileInfo) error {
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		if real, err := filepath.EvalSymlinks(path); err == nil && strings.HasPrefix(real, filepath.Clean(dir)+"/") {
			return nil
		}
	}
	if fi.Mode().Perm()&0o007 != 0 {
		return fmt.Errorf("%s is accessible to all users (mode %04o): run chmod 0600, and replace the key if other users can log in to this host", path, fi.Mode().Perm())
	}
	if fi.Mode().Perm()&0o070 == 0 {
		return nil
	}
	gid := int(fi.Sys().(*syscall.Stat_t).Gid)
	if gid == os.Getegid() {
		return nil
	}
	if dir, err := d.dir.Stat("."); err == nil && int(dir.Sys().(*syscall.Stat_t).Gid) == gid {
		return nil
	}
	return fmt.Errorf("%s is accessible to group %d, which is not the group of the keys directory (mode %04o): run chmod 0600", path, gid, fi.Mode().Perm())
}
