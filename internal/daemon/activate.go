package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"signpost/internal/config"
	"signpost/milter"
)

// firstPassed is the descriptor of the first socket that the service manager passes: SD_LISTEN_FDS_START.
const firstPassed = 3

// maxPassed limits LISTEN_FDS; a larger number is an error.
const maxPassed = 1000

// lookupTimeout bounds the lookup of a host name in listen.
const lookupTimeout = 5 * time.Second

// passedSockets returns the listeners that the service manager opened for this process: sd_listen_fds(3). It deletes the variables
// from the environment, so that no child process sees them.
func passedSockets() (all []net.Listener, err error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, err
		}
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil // the sockets are for another process, or there are none
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxPassed {
		return nil, fmt.Errorf("LISTEN_FDS is %q, which is not a number of sockets", count)
	}
	for i := range n {
		what := fmt.Sprintf("descriptor %d", firstPassed+i)
		if i < len(names) && names[i] != "" {
			what += fmt.Sprintf(" (%q)", names[i])
		}
		ln, err := passed(firstPassed+i, what)
		if err != nil {
			closeAll(all)
			return nil, fmt.Errorf("the service manager passed %s, which cannot be used: %w", what, err)
		}
		all = append(all, ln)
	}
	return all, nil
}

// passed returns a listener for a descriptor. When the listener is closed, the socket's file is not removed.
func passed(fd int, name string) (net.Listener, error) {
	syscall.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), name)
	defer f.Close() // the listener has a copy
	listens, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	if listens == 0 {
		return nil, errors.New("it is not a listening socket; its unit needs ListenStream= and Accept=no")
	}
	return net.FileListener(f)
}

// listen returns a listener for each socket in the configuration: the one that the service manager passed, or a new one.
func listen(ctx context.Context, conf *config.Config) (all []net.Listener, err error) {
	unused, err := passedSockets()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			closeAll(append(all, unused...))
			all = nil
		}
	}()
	var own []config.Listener
	for _, l := range conf.Listen {
		i := slices.IndexFunc(unused, func(ln net.Listener) bool { return listensAt(ctx, ln.Addr(), l) })
		if i < 0 {
			own = append(own, l)
			continue
		}
		all = append(all, unused[i])
		unused = slices.Delete(unused, i, i+1)
	}
	if len(unused) > 0 {
		return all, fmt.Errorf("the service manager passed the socket %q, which is not in listen: add it there, or remove it from the socket unit", postfixName(unused[0].Addr()))
	}
	for _, l := range own {
		mode, group := conf.Rights(l)
		ln, err := milter.Listen(l.Network, l.Address, mode, group)
		if err != nil {
			return all, err
		}
		all = append(all, ln)
	}
	return all, nil
}

// listensAt reports whether a socket with address a listens at the address in l.
func listensAt(ctx context.Context, a net.Addr, l config.Listener) bool {
	if l.Network == "unix" {
		return a.Network() == "unix" && a.String() == l.Address
	}
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return false
	}
	host, port, err := net.SplitHostPort(l.Address)
	if n, bad := strconv.Atoi(port); err != nil || bad != nil || n != tcp.Port {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(all) == 0 {
		return false
	}
	// If a name has several addresses, net.Listen prefers the first IPv4 address.
	named := all[max(0, slices.IndexFunc(all, func(a netip.Addr) bool { return a.Unmap().Is4() }))]
	return named.Unmap() == tcp.AddrPort().Addr().Unmap()
}

func closeAll(all []net.Listener) {
	for _, ln := range all {
		ln.Close()
	}
}
