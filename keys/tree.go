package keys

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// tree is a list of directories that the daemon's user owns: STATE_DIR, and the keys directory where it is elsewhere. Files in
// them are opened through os.Root, because that user could plant links there for root to follow. Other users follow links out of
// the tree: the links open nothing that these users could not open themselves.
type tree []string

// maxFile limits what is read from a file of the tree. The largest one is the metadata of a key, a few KiB.
const maxFile = 1 << 20

// open returns the directory at path.
func (t tree) open(path string) (*os.Root, error) {
	for _, base := range t {
		rel, err := filepath.Rel(base, path)
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		root, err := os.OpenRoot(base + asDir)
		if err != nil || rel == "." {
			return root, at(base, err)
		}
		defer root.Close()
		return openIn(root, rel, path)
	}
	return nil, fmt.Errorf("%s is outside the directories %q", path, []string(t))
}

// asDir makes an open fail with ENOTDIR if the path is not a directory. Without it, os.OpenRoot blocks on a FIFO.
const asDir = "/."

// openIn returns the directory rel of root. Its full path is for errors, and for links that may be followed.
func openIn(root *os.Root, rel, path string) (*os.Root, error) {
	dir, err := root.OpenRoot(rel + asDir)
	// An error of the kernel is not about a link out of root.
	if errno := syscall.Errno(0); err == nil || errors.As(err, &errno) || !isLinkIn(root, rel) {
		return dir, at(path, err)
	}
	if os.Geteuid() == 0 {
		return nil, &rootLinkError{path}
	}
	dir, err = os.OpenRoot(path + asDir)
	return dir, at(path, err)
}

// rootLinkError is the error of a link out of the tree, for root.
type rootLinkError struct{ path string }

func (e *rootLinkError) Error() string {
	return e.path + " is a link out of its directory, which root does not follow: replace it by what it links to, or run the command as the owner of the directory"
}

// isLinkIn reports whether a component of rel is a link.
func isLinkIn(root *os.Root, rel string) bool {
	for p := rel; p != "."; p = filepath.Dir(p) {
		if fi, err := root.Lstat(p); err == nil && fi.Mode()&fs.ModeSymlink != 0 {
			return true
		}
	}
	return false
}

// fault is an error of a file that is not the kernel's.
type fault string

func (f fault) Error() string { return string(f) }

// at puts the full path into an error of os.Root, which has the name alone, and replaces its words.
func at(path string, err error) error {
	if l, ok := err.(*os.LinkError); ok {
		return &fs.PathError{Op: "rename", Path: path, Err: l.Err} // without the name of the temporary file
	}
	p, ok := err.(*fs.PathError)
	if !ok {
		return err
	}
	op := p.Op
	switch op {
	case "stat", "lstat":
	case "removeat", "unlinkat":
		op = "remove"
	default:
		op = strings.TrimSuffix(op, "at")
	}
	var own fault
	if errno := syscall.Errno(0); errors.As(p.Err, &errno) || errors.As(p.Err, &own) || errors.Is(p.Err, fs.ErrClosed) {
		return &fs.PathError{Op: op, Path: path, Err: p.Err}
	}
	return &fs.PathError{Op: op, Path: path, Err: fault("is a link out of its directory")} // the only other error of os.Root
}

// in calls do with the directory of path and the name in it.
func (t tree) in(path string, do func(dir *os.Root, name string) error) error {
	dir, err := t.open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return at(path, do(dir, filepath.Base(path)))
}

func (t tree) read(path string) (data []byte, err error) {
	err = t.in(path, func(dir *os.Root, name string) error {
		data, err = readIn(dir, name)
		return err
	})
	return data, err
}

// readIn reads a regular file. O_NONBLOCK keeps the open from waiting where someone made a FIFO of that name.
func readIn(dir *os.Root, name string) ([]byte, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil {
		return nil, err
	} else if !fi.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fault("not a regular file")}
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// exists reports whether there is a file, or a link, at path. Errors count as existing.
func (t tree) exists(path string) bool {
	err := t.in(path, func(dir *os.Root, name string) error {
		_, err := dir.Lstat(name)
		return err
	})
	return !errors.Is(err, fs.ErrNotExist)
}

// list returns the entries of a directory, sorted by name. A link is not followed.
func list(dir *os.Root) ([]fs.FileInfo, error) {
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return nil, err
	}
	var all []fs.FileInfo
	for _, e := range entries {
		fi, err := dir.Lstat(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since
		}
		if err != nil {
			return nil, err
		}
		all = append(all, fi)
	}
	return all, nil
}

// tempMark is part of the names of temporary files. No selector contains it.
const tempMark = "~"

// isTemp reports whether write made a file: NAME, tempMark and rand.Text. An editor's backup NAME~ is not one.
func isTemp(name string) bool {
	const textLen, base32 = 26, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	_, random, ok := strings.Cut(name, tempMark)
	return ok && len(random) == textLen && strings.Trim(random, base32) == ""
}

// write replaces a file in one step that survives a power failure: temporary file, fsync, rename, fsync of the directory. The file
// gets the owner of the directory like, so that the daemon can read what root's cron writes.
func (t tree) write(path string, data []byte, like string, mode fs.FileMode) error {
	own, err := t.ownerOf(like)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	err = t.in(path, func(dir *os.Root, name string) error {
		tmp := name + tempMark + rand.Text()
		f, err := dir.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		if err = errors.Join(err, own(f), f.Sync(), f.Close()); err == nil {
			err = dir.Rename(tmp, name)
		}
		if err != nil {
			_ = dir.Remove(tmp)
			return err
		}
		return syncIn(dir)
	})
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// ownerOf returns a function that sets the owner and group of an open file to those of the directory like. It does nothing unless
// root runs it.
func (t tree) ownerOf(like string) (func(*os.File) error, error) {
	if os.Geteuid() != 0 {
		return func(*os.File) error { return nil }, nil
	}
	dir, err := t.open(like)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fi, err := dir.Stat(".")
	if err != nil {
		return nil, at(like, err)
	}
	st := fi.Sys().(*syscall.Stat_t)
	return func(f *os.File) error { return f.Chown(int(st.Uid), int(st.Gid)) }, nil
}

func syncIn(dir *os.Root) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (t tree) sync(path string) error {
	dir, err := t.open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return syncIn(dir)
}

// remove deletes a file. A missing one is no error.
func (t tree) remove(path string) error {
	err := t.in(path, func(dir *os.Root, name string) error { return dir.Remove(name) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// makeDir creates a directory of mode 0700 and those above it in the tree, with the owner of the directory that each is in.
func (t tree) makeDir(path string) error {
	dir, err := t.open(path)
	if err == nil {
		return dir.Close()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("creating the directory %s: %w", path, err)
	}
	parent := filepath.Dir(path)
	for _, base := range t {
		if path == base { // only root and the owner of the directory above it can write there
			return makeBase(path)
		}
	}
	if err := t.makeDir(parent); err != nil {
		return err
	}
	own, err := t.ownerOf(parent)
	if err == nil {
		err = t.in(path, func(dir *os.Root, name string) error {
			if err := dir.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
			if err != nil {
				return err
			}
			return errors.Join(own(f), f.Close(), syncIn(dir))
		})
	}
	if err != nil {
		return fmt.Errorf("creating the directory %s: %w", path, err)
	}
	return nil
}

// makeBase creates a directory that is in no directory of the tree, and those above it.
func makeBase(path string) error {
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		return nil
	}
	parent := filepath.Dir(path)
	if err := makeBase(parent); err != nil {
		return err
	}
	return tree{parent}.makeDir(path)
}
