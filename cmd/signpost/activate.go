package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"signpost/internal/config"
	"signpost/milter"
)

// firstPassed is the descriptor of the first socket that the service manager passes: SD_LISTEN_FDS_START.
const firstPassed = 3

// mostPassed bounds LISTEN_FDS; a number beyond it is a mistake.
const mostPassed = 1000

// passedSockets are the listeners that the service manager opened for this process, by sd_listen_fds(3). It takes them out
// of the environment, so that they are asked for once.
func passedSockets() (all []net.Listener, err error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, err
		}
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil // for another process, or none at all
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > mostPassed {
		return nil, fmt.Errorf("LISTEN_FDS is %q, which is no number of sockets", count)
	}
	for i := range n {
		what := fmt.Sprintf("descriptor %d", firstPassed+i)
		if i < len(names) && names[i] != "" {
			what += fmt.Sprintf(" (%q)", names[i])
		}
		ln, err := passed(firstPassed+i, what)
		if err != nil {
			closeAll(all)
			return nil, fmt.Errorf("the service manager passed %s, which is of no use: %w", what, err)
		}
		all = append(all, ln)
	}
	return all, nil
}

// passed makes a listener of a descriptor. Closing it leaves the socket's file to its owner.
func passed(fd int, name string) (net.Listener, error) {
	syscall.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), name)
	defer f.Close() // the listener has a copy
	listens, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	if listens == 0 {
		return nil, errors.New("it does not listen; its unit needs ListenStream= and Accept=no")
	}
	return net.FileListener(f)
}

// listen gives a listener for each socket of the configuration: one that the service manager has passed, or its own.
func listen(conf *config.Config) (all []net.Listener, err error) {
	given, err := passedSockets()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			closeAll(append(all, given...))
			all = nil
		}
	}()
	var own []config.Listener
	for _, l := range conf.Listen {
		ln := take(&given, l)
		if ln == nil {
			own = append(own, l)
			continue
		}
		all = append(all, ln)
	}
	if len(given) > 0 {
		return all, fmt.Errorf("the service manager passed the socket %q, which listen does not name: add it there, or take it out of the socket's unit", inWords(given[0].Addr()))
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

// take is the listener at an address, no longer in given; nil where there is none.
func take(given *[]net.Listener, l config.Listener) net.Listener {
	for i, ln := range *given {
		if at(ln.Addr(), l) {
			*given = append((*given)[:i:i], (*given)[i+1:]...)
			return ln
		}
	}
	return nil
}

// at says whether a socket's address is the one that the configuration names.
func at(a net.Addr, l config.Listener) bool {
	if l.Network == "unix" {
		return a.Network() == "unix" && a.String() == l.Address
	}
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return false
	}
	named, err := net.ResolveTCPAddr("tcp", l.Address)
	return err == nil && plain(named) == plain(tcp)
}

// plain is an address without the ways to write it.
func plain(a *net.TCPAddr) netip.AddrPort {
	p := a.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

func closeAll(all []net.Listener) {
	for _, ln := range all {
		ln.Close()
	}
}
