package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// String is the entry as it stands in the file.
func (f Forwarder) String() string {
	var b strings.Builder
	b.WriteString("[[forwarder]]\n")
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s = %s\n", key, strconv.Quote(value))
		}
	}
	line("sealer", f.Sealer)
	line("signer", f.Signer)
	if f.Network.IsValid() {
		line("network", f.Network.String())
	}
	line("comment", f.Comment)
	fmt.Fprintf(&b, "expires = %s\n", f.Expires.AddDate(0, 0, -1).Format(time.DateOnly))
	return b.String()
}

// AddForwarder writes an entry below what stands in the file of accepted forwarders, and makes that where there is none. A
// reader sees the file without it or with it. why becomes comments.
func AddForwarder(path string, f Forwarder, why []string) error {
	before, err := readFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text := string(before)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if text != "" {
		text += "\n"
	}
	for _, line := range why {
		text += "# " + line + "\n"
	}
	text += f.String()
	if _, err := ParseForwarders(path, []byte(text)); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if fi, err := os.Stat(path); err == nil {
		mode = fi.Mode().Perm()
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return err
		}
	}
	return replace(path, []byte(text), mode)
}

// replace writes a file in one step.
func replace(path string, data []byte, mode fs.FileMode) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	return err
}
