package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Tree is a list of directories that another user may own, such as STATE_DIR. Files in them are opened through os.Root, because that user
// could create symbolic links there for root to follow. If the process does not run as root, it follows links out of the tree. Such a link
// can lead only to files that the user of the process can open anyway.
type Tree []string

// MaxFile is the maximum number of bytes that Tree.Read reads. The largest file is the metadata of a key, a few KiB.
const MaxFile = 1 << 20

// Open returns the directory at path.
func (t Tree) Open(path string) (*os.Root, error) {
	for _, base := range t {
		rel, err := filepath.Rel(base, path)
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		root, err := OpenDir(base)
		if err != nil || rel == "." {
			return root, PathError(base, err)
		}
		defer root.Close()
		return OpenIn(root, rel, path)
	}
	return nil, fmt.Errorf("%s is outside the directories %q", path, []string(t))
}

// asDir makes an open fail with ENOTDIR if the path is not a directory. Otherwise os.OpenRoot would block on a FIFO.
const asDir = "/."

// OpenDir is like os.OpenRoot, but does not block.
func OpenDir(path string) (*os.Root, error) {
	root, err := os.OpenRoot(path + asDir)
	return root, PathError(path, err)
}

// OpenDirIn is like OpenDir, but for a directory in root.
func OpenDirIn(root *os.Root, rel string) (*os.Root, error) { return root.OpenRoot(rel + asDir) }

// OpenIn returns the directory rel in root. path is the full path of the directory. OpenIn uses it in errors. If the process does not run
// as root, OpenIn also uses it to follow links.
func OpenIn(root *os.Root, rel, path string) (*os.Root, error) {
	dir, err := OpenDirIn(root, rel)
	// If the error contains an errno, the cause is not a link out of root.
	if errno := syscall.Errno(0); err == nil || errors.As(err, &errno) || !isLinkIn(root, rel) {
		return dir, PathError(path, err)
	}
	if os.Geteuid() == 0 {
		return nil, &RootLinkError{path}
	}
	dir, err = OpenDir(path)
	return dir, PathError(path, err)
}

// RootLinkError is the error for a link out of the tree if the process runs as root.
type RootLinkError struct{ Path string }

func (e *RootLinkError) Error() string {
	return e.Path + " is a link out of its directory, which root does not follow: replace it by the file it links to, or run the command as the owner of the directory"
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

// fault is an error of a file operation that this package found itself. The kernel did not return it.
type fault string

func (f fault) Error() string { return string(f) }

// PathError returns an error of os.Root with the full path instead of the name, and with a clearer text.
func PathError(path string, err error) error {
	if l, ok := err.(*os.LinkError); ok {
		return &fs.PathError{Op: "rename", Path: path, Err: l.Err} // the result omits the name of the temporary file
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
	return &fs.PathError{Op: op, Path: path, Err: fault("is a link out of its directory")} // os.Root has no other errors without an errno
}

// In opens the directory of path, and calls do with that directory and the last element of path.
func (t Tree) In(path string, do func(dir *os.Root, name string) error) error {
	dir, err := t.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return PathError(path, do(dir, filepath.Base(path)))
}

// Read is like the function Read, but takes a path.
func (t Tree) Read(path string) (data []byte, err error) {
	err = t.In(path, func(dir *os.Root, name string) error {
		data, err = Read(dir, name, MaxFile)
		return err
	})
	return data, err
}

// Read reads at most limit bytes of a regular file. It opens the file with O_NONBLOCK, so that a FIFO with that name does not block the
// process.
func Read(dir *os.Root, name string, limit int64) ([]byte, error) {
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
	return io.ReadAll(io.LimitReader(f, limit))
}

// Exists reports whether there is a file, or a link, at path. It returns true after an error.
func (t Tree) Exists(path string) bool {
	err := t.In(path, func(dir *os.Root, name string) error {
		_, err := dir.Lstat(name)
		return err
	})
	return !errors.Is(err, fs.ErrNotExist)
}

// List returns the entries of a directory, sorted by name. A link is not followed.
func List(dir *os.Root) ([]fs.FileInfo, error) {
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return nil, err
	}
	var all []fs.FileInfo
	for _, e := range entries {
		fi, err := dir.Lstat(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed in the meantime
		}
		if err != nil {
			return nil, err
		}
		all = append(all, fi)
	}
	return all, nil
}

// Write replaces a file in one step that survives a power failure: temporary file, fsync, rename, fsync of the directory. The new file has
// the same owner as the directory like, so that the daemon can read files that root's cron jobs write.
func (t Tree) Write(path string, data []byte, like string, mode fs.FileMode) error {
	own, err := t.OwnerOf(like)
	if err == nil {
		err = t.In(path, func(dir *os.Root, name string) error { return Write(dir, name, data, mode, own) })
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// OwnerOf returns a function that sets the owner and group of an open file to those of the directory like. Unless the process runs as
// root, that function does nothing.
func (t Tree) OwnerOf(like string) (func(*os.File) error, error) {
	if os.Geteuid() != 0 {
		return func(*os.File) error { return nil }, nil
	}
	dir, err := t.Open(like)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fi, err := dir.Stat(".")
	if err != nil {
		return nil, PathError(like, err)
	}
	st := fi.Sys().(*syscall.Stat_t)
	return func(f *os.File) error { return f.Chown(int(st.Uid), int(st.Gid)) }, nil
}

// Remove deletes a file or an empty directory durably. It returns nil if there is no such file.
func (t Tree) Remove(path string) error {
	err := t.In(path, func(dir *os.Root, name string) error {
		if err := dir.Remove(name); err != nil {
			return err
		}
		return Sync(dir)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// MakeDir creates a directory of mode 0700, and its missing parents in the tree. Each gets the owner of its parent directory.
func (t Tree) MakeDir(path string) error {
	dir, err := t.Open(path)
	if err == nil {
		return dir.Close()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("creating the directory %s: %w", path, err)
	}
	parent := filepath.Dir(path)
	for _, base := range t {
		if path == base { // path is in the list itself; only root and the owner of the parent directory can write to the parent
			return makeBase(path)
		}
	}
	if err := t.MakeDir(parent); err != nil {
		return err
	}
	own, err := t.OwnerOf(parent)
	if err == nil {
		err = t.In(path, func(dir *os.Root, name string) error {
			if err := dir.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
			if err != nil {
				return err
			}
			return errors.Join(own(f), f.Close(), Sync(dir))
		})
	}
	if err != nil {
		return fmt.Errorf("creating the directory %s: %w", path, err)
	}
	return nil
}

// makeBase creates a directory and its missing parents. It is used for a directory that is not below any directory of the tree.
func makeBase(path string) error {
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		return nil
	}
	parent := filepath.Dir(path)
	if err := makeBase(parent); err != nil {
		return err
	}
	return Tree{parent}.MakeDir(path)
}
