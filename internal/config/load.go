package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// dropInsName is the name of a directory beside the configuration file. The *.toml files in that directory are read after the configuration
// file.
const dropInsName = "conf.d"

// These limits prevent the daemon from reading a device, a mailbox or a Maildir at a reload if the path is wrong.
const (
	maxFile    = 1 << 20 // bytes of one file
	maxDropIns = 1000    // number of drop-in files: a large site may have one for each customer
	maxDropped = 8 << 20 // bytes of all drop-in files
)

// source is the content of a file.
type source struct {
	name string
	data []byte
}

// Load reads a configuration. It reads the file at path, the *.toml files in the directory conf.d beside it, and the file of accepted
// forwarders. The *.toml files are read in byte order of their names; files whose names begin with a dot are ignored. A missing conf.d
// counts as empty. If any other file or directory cannot be read, Load returns an error: a partial configuration could accept or sign
// mail that the whole one rejects. Errors name the file, the line, the key and the allowed values.
func Load(path string) (*Config, error) {
	sources, err := read(path)
	if err != nil {
		return nil, err
	}
	c, err := parseAll(sources)
	if err != nil {
		return nil, err
	}
	if c.DMARC.ForwardersGiven = c.DMARC.ForwardersFile != ""; !c.DMARC.ForwardersGiven {
		c.DMARC.ForwardersFile = filepath.Join(filepath.Dir(path), forwardersName)
	}
	if c.DMARC.Forwarders, err = LoadForwarders(c.DMARC.ForwardersFile); err != nil {
		return nil, err
	}
	return c, nil
}

// DropIns returns the directory with the files that Load reads after the configuration file at path.
func DropIns(path string) string { return filepath.Join(filepath.Dir(path), dropInsName) }

// Exists reports whether there is a configuration at path or in its drop-in directory. If an error prevents the check, Exists returns true,
// and Load then returns the error.
func Exists(path string) bool {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return true
	}
	names, err := dropIns(DropIns(path))
	return err != nil || len(names) > 0
}

func read(path string) ([]source, error) {
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such file; an empty file is valid, and signpost.toml(5) lists the keys", path)
	}
	if err != nil {
		return nil, err
	}
	sources := []source{{path, data}}
	names, err := dropIns(DropIns(path))
	total := 0
	for _, name := range names {
		if data, err = readFile(name); err != nil {
			return nil, err
		}
		if total += len(data); total > maxDropped {
			return nil, fmt.Errorf("%s: the files are larger than %d MiB in total", DropIns(path), maxDropped>>20)
		}
		sources = append(sources, source{name, data})
	}
	return sources, err
}

// dropIns returns the paths of the files to read in dir, in order: os.ReadDir sorts them.
func dropIns(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(dir); err == nil {
			return nil, fmt.Errorf("%s: is a symbolic link to a directory that does not exist", dir)
		}
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".toml") && !strings.HasPrefix(name, ".") {
			names = append(names, filepath.Join(dir, name))
		}
	}
	if len(names) > maxDropIns {
		return nil, fmt.Errorf("%s: has %d files; the limit is %d", dir, len(names), maxDropIns)
	}
	return names, nil
}

func readFile(path string) ([]byte, error) {
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the configuration: %w", err)
	case !fi.Mode().IsRegular():
		return nil, fmt.Errorf("%s: is not a regular file", path)
	case fi.Size() > maxFile:
		return nil, fmt.Errorf("%s: is larger than 1 MiB, the limit for a configuration file", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return bytes.TrimPrefix(data, []byte("\ufeff")), nil // editors on Windows write a byte order mark
}
