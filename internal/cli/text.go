package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"signpost/internal/owner"
)

// Text returns the text of an error for users. It replaces texts of Go's standard library, such as the names of system calls.
func Text(err error) string {
	text := err.Error()
	each(err, func(cause error) bool {
		words, known := plain(cause)
		if known {
			text = strings.ReplaceAll(text, cause.Error(), words)
		}
		return !known
	})
	return text
}

// Hint returns the hint for a permission error: the user to run the command as. It returns "" if the error already has a hint, or is
// not a permission error.
func Hint(err error) string {
	if !errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "\nhint: ") {
		return ""
	}
	hint := ""
	each(err, func(cause error) bool {
		path, ok := cause.(*fs.PathError)
		if !ok || !filepath.IsAbs(path.Path) && strings.HasSuffix(path.Op, "at") { // a path relative to an os.Root
			return hint == ""
		}
		switch uid, name := owner.User(path.Path); {
		case uid < 0 || uid == os.Geteuid() || os.Geteuid() == 0:
		case uid == 0:
			hint = "run it as root"
		default:
			hint = "run it as user " + name + " or as root"
		}
		return false
	})
	return hint
}

// each calls f for err and the errors that it wraps, until f returns false.
func each(err error, f func(error) bool) {
	if err == nil || !f(err) {
		return
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		each(e.Unwrap(), f)
	case interface{ Unwrap() []error }:
		for _, below := range e.Unwrap() {
			each(below, f)
		}
	}
}

// plain returns plain words for an error of Go's standard library.
func plain(err error) (words string, known bool) {
	switch err {
	case context.Canceled:
		return "interrupted", true
	case context.DeadlineExceeded, os.ErrDeadlineExceeded:
		return "timeout", true
	case io.EOF, io.ErrUnexpectedEOF:
		return "unexpected end", true
	}
	switch e := err.(type) {
	case *fs.PathError:
		return operation(e.Op) + cmp.Or(e.Path, `""`) + ": " + Text(e.Err), true
	case *os.LinkError:
		return operation(e.Op) + e.Old + " to " + e.New + ": " + Text(e.Err), true
	case *os.SyscallError:
		return Text(e.Err), true
	case *net.OpError:
		if e.Addr == nil {
			return Text(e.Err), true
		}
		return e.Addr.String() + ": " + Text(e.Err), true
	case *net.AddrError:
		return e.Addr + ": " + e.Err, true
	case *net.DNSError:
		return e.Name + ": " + e.Err, true
	case *exec.Error:
		return e.Name + ": " + strings.Replace(Text(e.Err), "executable file not found in $PATH", "no such program", 1), true
	case *json.SyntaxError:
		return "not valid JSON at byte " + strconv.FormatInt(e.Offset, 10), true
	case *json.UnmarshalTypeError:
		return "not the expected JSON at byte " + strconv.FormatInt(e.Offset, 10), true
	case *strconv.NumError:
		if errors.Is(e, strconv.ErrRange) {
			return strconv.Quote(e.Num) + " is out of range", true
		}
		return strconv.Quote(e.Num) + " is not a number", true
	case *time.ParseError:
		return strconv.Quote(e.Value) + " is not a time", true
	}
	return "", false
}

// operation returns the beginning of the message about a failed file system call. It returns "" if the message is clear with only the path
// and the cause.
func operation(call string) string {
	words := map[string]string{
		"open": "open", "read": "read", "readdirent": "read", "fdopendir": "read", "readlink": "read", "write": "write", "sync": "write",
		"mkdir": "create", "remove": "delete", "unlink": "delete", "rename": "rename", "symlink": "link", "link": "link", "flock": "lock",
		"chmod": "set the permissions of", "fchmod": "set the permissions of", "truncate": "write", "ftruncate": "write",
		"chown": "set the owner of", "lchown": "set the owner of", "fchown": "set the owner of",
	}
	if word := words[strings.TrimSuffix(call, "at")]; word != "" { // openat, mkdirat
		return "cannot " + word + " "
	}
	return ""
}
