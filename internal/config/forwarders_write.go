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

	"signpost/internal/durable"
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
	if _, err := os.Stat(path); err == nil {
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return err
		}
	}
	dir, err := durable.OpenDir(filepath.Dir(path))
	if err != nil {
		return durable.PathError(filepath.Dir(path), err)
	}
	defer dir.Close()
	keep := durable.Keep(dir, filepath.Base(path), 0o644)
	err = durable.Write(dir, filepath.Base(path), []byte(text), 0o600, func(f *os.File) error {
		err := keep(f)
		if errors.Is(err, fs.ErrPermission) { // only root may give a file away; the owner of the directory reads it all the same
			return nil
		}
		return err
	})
	return durable.PathError(path, err)
}
