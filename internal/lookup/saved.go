package lookup

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"signpost/internal/durable"
)

const (
	saveEvery   = time.Minute
	maxSaved    = 4 * maxBytes // bytes of the file; a quoted byte may need four
	savedMode   = 0o600        // answers may contain addresses
	savedPrefix = "signpost tables 1\n"
	// savedLine has the Unix time in seconds, whether the key was found, and the table, key and value in the syntax of Go, which keeps
	// bytes that are not UTF-8. The least recently used answer is first.
	savedLine = "%d %t %q %q %q\n"
)

// Load reads the answers that Save wrote to the file at path. A missing file is no error. Load skips lines that cannot be parsed, and logs
// their number.
func (c *Cache) Load(path string) error {
	dir, err := durable.OpenDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	name := filepath.Base(path)
	removeDrafts(dir, name)
	data, err := durable.Read(dir, name, maxSaved)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the saved answers: %w", durable.PathError(path, err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	rest, ok := bytes.CutPrefix(data, []byte(savedPrefix))
	if !ok {
		c.options.Log.Warn("the saved answers of tables are not used: the file has another format", "file", path)
		return nil
	}
	wrong := 0
	lines := bufio.NewScanner(bytes.NewReader(rest))
	lines.Buffer(nil, maxSaved)
	for lines.Scan() {
		var k kept
		var at int64
		if _, err := fmt.Sscanf(lines.Text()+"\n", savedLine, &at, &k.Found, &k.table, &k.key, &k.Value); err != nil {
			wrong++
			continue
		}
		k.at = time.Unix(at, 0)
		c.keep(&k)
	}
	if wrong > 0 {
		c.options.Log.Warn("saved answers of tables are damaged", "file", path, "lines", wrong)
	}
	c.changed = false
	return nil
}

// removeDrafts deletes the drafts of a file that a killed process left.
func removeDrafts(dir *os.Root, name string) {
	files, _ := durable.List(dir) // after an error, they remain until the next start
	for _, fi := range files {
		if of, ok := durable.TempOf(fi.Name()); ok && of == name {
			_ = dir.Remove(fi.Name())
		}
	}
}

// Save writes all answers to the file at path, if an answer has changed since the last call.
func (c *Cache) Save(path string) error {
	data, changed := c.export()
	if !changed {
		return nil
	}
	err := func() error {
		dir, err := durable.OpenDir(filepath.Dir(path))
		if err != nil {
			return err
		}
		defer dir.Close()
		return durable.Write(dir, filepath.Base(path), data, savedMode, func(*os.File) error { return nil })
	}()
	if err != nil {
		c.mu.Lock()
		c.changed = true
		c.mu.Unlock()
		return fmt.Errorf("saving the answers of tables: %w", durable.PathError(path, err))
	}
	return nil
}

// export returns the contents of the file, and whether an answer has changed since the last call.
func (c *Cache) export() (data []byte, changed bool) {
	all, changed := c.oldestFirst()
	if !changed {
		return nil, false
	}
	var b bytes.Buffer
	b.WriteString(savedPrefix)
	for _, k := range all {
		fmt.Fprintf(&b, savedLine, k.at.Unix(), k.Found, k.table, k.key, k.Value)
	}
	return b.Bytes(), true
}

// oldestFirst returns all answers if one has changed since the last call, the least recently used one first. A kept is never modified, so
// the caller can format them while mail is processed.
func (c *Cache) oldestFirst() (all []*kept, changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.changed {
		return nil, false
	}
	c.changed = false
	all = make([]*kept, 0, c.recent.Len())
	for e := c.recent.Back(); e != nil; e = e.Prev() {
		all = append(all, e.Value.(*kept))
	}
	return all, true
}

// KeepSaved calls Save every minute until ctx ends, and then once more.
func (c *Cache) KeepSaved(ctx context.Context, path string) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	failing := false
	save := func() {
		err := c.Save(path)
		if err != nil && !failing {
			c.options.Log.Error("answers of tables are not saved, an outage after a restart would affect mail", "error", err)
		}
		failing = err != nil
	}
	for {
		select {
		case <-tick.C:
			save()
		case <-ctx.Done():
			save()
			return
		}
	}
}
