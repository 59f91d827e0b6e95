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

// AcceptedFile returns the path of the file to which AddForwarder adds an entry.
func (c *Config) AcceptedFile() string {
	if c.Clustered() {
		return c.SharedFile()
	}
	return c.DMARC.ForwardersFile
}

// String returns the entry in TOML, as in the file.
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

// AddForwarder appends an entry to the file of accepted forwarders, or to the file of shared rules if this host belongs to a cluster. The
// lines of why become comments. It creates the file if necessary. The change is atomic. It returns an error if the file is not valid.
func (c *Config) AddForwarder(f Forwarder, why []string) error {
	path := c.AcceptedFile()
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
	if c.Clustered() {
		_, err = ParseShared(path, []byte(text))
	} else {
		_, err = ParseForwarders(path, []byte(text))
	}
	if err != nil {
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
		if errors.Is(err, fs.ErrPermission) { // only root can change the owner of a file, and the owner of the directory can read the file anyway
			return nil
		}
		return err
	})
	return durable.PathError(path, err)
}
