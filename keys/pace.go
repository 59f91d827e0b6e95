package keys

import (
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// pass is a reload of all keys.
type pass struct {
	ended time.Time
	took  time.Duration
	seen  uint64 // the result of directories before the reload
}

// paceFactor limits the processor time of reloads in Run to a twentieth of a processor. A reload of ten domains takes less than a millisecond, so
// each check of Run reloads them. One of 10,000 domains takes a second.
const paceFactor = 20

// maxPause limits the time after which Run finds a file that was modified in place.
const maxPause = time.Minute

// due reports whether Run must reload. Soon after a reload that took long, it looks only at the directories. dkimkey changes files by renaming, so
// the directory of the domain changes too. A file that was modified in place is found at the next reload.
func (w *Watcher) due() bool {
	w.mu.Lock()
	last := w.last
	w.mu.Unlock()
	age := time.Since(last.ended)
	return age < 0 || age >= min(paceFactor*last.took, maxPause) || w.store.directories() != last.seen
}

// directories returns a number that changes if the directory of a domain, the keys directory or the directory of hosted domains changes.
func (s Store) directories() uint64 {
	h := fnv.New64a()
	add := func(path string, fi fs.FileInfo, err error) {
		if err == nil && fi.Mode()&fs.ModeSymlink != 0 {
			fi, err = os.Stat(path)
		}
		if err != nil {
			fmt.Fprintln(h, path)
			return
		}
		st := fi.Sys().(*syscall.Stat_t)
		fmt.Fprintln(h, path, st.Ino, fi.Mode(), st.Uid, st.Gid, fi.ModTime().UnixNano())
	}
	for _, path := range []string{s.Dir, filepath.Join(s.State, "hosted")} {
		fi, err := os.Stat(path)
		add(path, fi, err)
	}
	entries, _ := os.ReadDir(s.Dir) // after an error, the number changes
	for _, e := range entries {
		fi, err := e.Info()
		add(filepath.Join(s.Dir, e.Name()), fi, err)
	}
	return h.Sum64()
}
