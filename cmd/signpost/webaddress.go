package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/milter"
)

// address is where the page listens, as in the flags of signpost web.
type address struct {
	listen      string // ADDRESS:PORT or unix:PATH
	mode, group string // of the unix socket
}

const (
	maxSocketMode = 0o777
	othersConnect = 0o002 // connect(2) needs write permission
)

// open listens. An error is a usage error.
func (a address) open(ctx context.Context) (ln net.Listener, err error) {
	defer func() {
		if err != nil {
			err = cli.Usage(fmt.Errorf("--listen: %w", err))
		}
	}()
	if a.listen == "" { // with "", Listen would use all addresses and a random port
		return nil, errors.New("ADDRESS required")
	}
	if !strings.HasPrefix(a.listen, "unix:") {
		return (&net.ListenConfig{}).Listen(ctx, "tcp", a.listen)
	}
	socket, err := config.ParseListener(a.listen)
	if err != nil {
		return nil, err
	}
	mode, err := a.permissions()
	if err != nil {
		return nil, err
	}
	if _, err := user.LookupGroup(a.group); a.group != "" && err != nil { // milter.Listen ignores it
		return nil, fmt.Errorf("--socket-group: there is no group %q", a.group)
	}
	if dir := filepath.Dir(socket.Address); !isDir(dir) {
		return nil, fmt.Errorf("the directory %s does not exist\nhint: in signpost-web.service, RuntimeDirectory= creates it; or: install -d -m 0755 -o signpost %[1]s", dir)
	}
	return milter.Listen(socket.Network, socket.Address, mode, a.group)
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

func (a address) permissions() (fs.FileMode, error) {
	n, err := strconv.ParseUint(a.mode, 8, 32)
	if err != nil || n > maxSocketMode {
		return 0, fmt.Errorf("--socket-mode: %q is not a mode, like 0660", a.mode)
	}
	return fs.FileMode(n), nil
}

// exposed returns who can connect besides the users that the administrator chose, or "". Loopback is the documented default.
func (a address) exposed(ln net.Listener) string {
	switch at := ln.Addr().(type) {
	case *net.TCPAddr:
		if at.IP.IsLoopback() {
			return ""
		}
		return fmt.Sprintf("%s is not a loopback address: everyone who can connect", at)
	case *net.UnixAddr:
		if mode, err := a.permissions(); err == nil && mode&othersConnect != 0 {
			return fmt.Sprintf("unix:%s has mode %s: every user of this host", at, a.mode)
		}
	}
	return ""
}

func (a address) url(ln net.Listener) string {
	if ln.Addr().Network() == "unix" {
		return a.listen
	}
	return fmt.Sprintf("http://%s/", ln.Addr())
}
