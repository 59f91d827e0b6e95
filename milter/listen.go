package milter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"
)

// listenTimeout limits the lookup of a host name in an address, and the connection to a socket that may be stale.
const listenTimeout = 5 * time.Second

// Listen opens a socket for Postfix. network is "tcp" or "unix". Listen sets the mode of a unix socket. It also sets the group, unless the
// group is empty or does not exist on this machine. Listen replaces a socket file on which no process listens. If a process listens on it,
// Listen returns an error.
func Listen(network, address string, mode fs.FileMode, group string) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(context.Background(), listenTimeout)
	defer cancel()
	if network != "unix" {
		// TCP keep-alive is off, because it takes four system calls for each connection. A dead peer is detected by readTimeout.
		ln, err := (&net.ListenConfig{KeepAlive: -1}).Listen(ctx, network, address)
		if err != nil {
			return nil, fmt.Errorf("listening on inet:%s: %w", address, err)
		}
		return ln, nil
	}
	if err := clearStale(address); err != nil {
		return nil, err
	}
	ln, err := net.Listen("unix", address)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listening on unix:%s: the directory does not exist\nhint: create it as the user that runs signpost: install -d -m 0710 -g postfix DIRECTORY", address)
	}
	if err != nil {
		return nil, fmt.Errorf("listening on unix:%s: %w", address, err)
	}
	if err := setRights(address, mode, group); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// clearStale removes a socket file on which no process listens. A killed daemon leaves such a file.
func clearStale(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listening on unix:%s: %w", path, err)
	}
	if fi.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("listening on unix:%s: a file of that name exists and is not a socket; remove it, or choose another name", path)
	}
	c, err := net.DialTimeout("unix", path, listenTimeout)
	if err == nil {
		c.Close()
		return fmt.Errorf("listening on unix:%s: another process listens there; stop it first", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("listening on unix:%s: checking for another process: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the stale socket: %w", err)
	}
	return nil
}

func setRights(path string, mode fs.FileMode, group string) error {
	if group != "" {
		g, err := user.LookupGroup(group)
		var unknown user.UnknownGroupError
		if err != nil && !errors.As(err, &unknown) {
			return fmt.Errorf("looking up the group %q: %w", group, err)
		}
		if err == nil {
			gid, err := strconv.Atoi(g.Gid)
			if err != nil {
				return fmt.Errorf("looking up the group %q: %w", group, err)
			}
			if err := os.Lchown(path, -1, gid); err != nil {
				return fmt.Errorf("setting the group of unix:%s to %s (socket_group): %w; the user that runs signpost must be in that group", path, group, err)
			}
		}
	}
	if err := os.Chmod(path, mode); err != nil {
		return fmt.Errorf("setting the mode of unix:%s: %w", path, err)
	}
	return nil
}
