// Package testport gives ports of loopback to the servers of tests. Asking the kernel for a free one and closing it again
// is not enough: Postfix and BIND set SO_REUSEPORT, so that two of them that were given the same port share it, and each
// gets half of the other's connections.
package testport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The ports lie below those that the kernel gives to clients (ip_local_port_range).
const first, count = 20000, 12000

// Take gives a port at a host of loopback that nobody else has, in this process or another, until release is called.
func Take(host string) (port int, release func(), err error) {
	dir := filepath.Join(os.TempDir(), "signpost-testports")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return 0, nil, err
	}
	for range 200 {
		port := first + rand.IntN(count)
		lock, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(port)), os.O_CREATE|os.O_RDWR, 0o666)
		if err != nil {
			return 0, nil, err
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && free(host, port) {
			return port, func() {
				_ = unix.Flock(int(lock.Fd()), unix.LOCK_UN)
				lock.Close()
			}, nil
		}
		lock.Close()
	}
	return 0, nil, errors.New("no free port")
}

func free(host string, port int) bool {
	addr := net.JoinHostPort(host, fmt.Sprint(port))
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	return udp.Close() == nil
}
