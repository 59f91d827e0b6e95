// Package testport gives ports of loopback to the servers of tests. Asking the kernel for a free one and closing it again
// is not enough: Postfix and BIND set SO_REUSEPORT, so that two of them that were given the same port share it, and each
// gets half of the other's connections.
//
// It also keeps such servers out of go test -short.
package testport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The ports lie below those that the kernel gives to clients (ip_local_port_range).
const first, count = 20000, 12000

// NotShort returns an error in a test with -short, which runs on machines without other servers, Python and Perl. It is called
// before each start of another program that such a machine may lack.
func NotShort() error {
	if testing.Testing() && testing.Short() {
		return errors.New("go test -short starts no server and no other implementation: skip this test")
	}
	return nil
}

// Take returns a port at a host of loopback that no other process and no other caller has, until release is called. It fails
// with -short, see NotShort.
func Take(host string) (port int, release func(), err error) {
	if err := NotShort(); err != nil {
		return 0, nil, err
	}
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
