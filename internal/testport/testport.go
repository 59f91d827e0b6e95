// Package testport assigns loopback ports to the servers of tests. It is not sufficient to let the kernel choose a free port and to close
// it again. Postfix and BIND set SO_REUSEPORT, so two servers with the same port would share it, and each would receive connections for the
// other.
//
// The package also prevents tests from starting such servers in go test -short.
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

// The ports are below the range from which the kernel chooses ports for clients (ip_local_port_range).
const first, count = 20000, 12000

// NotShort returns an error in a test with -short. Such tests must run on machines without other servers, Python and Perl. NotShort is
// called before a test starts a program that such a machine may lack.
func NotShort() error {
	if testing.Testing() && testing.Short() {
		return errors.New("go test -short starts no server and no other implementation: skip this test")
	}
	return nil
}

// Take returns a port of a loopback address that no other process and no other caller uses until release is called. It returns an error
// with -short: see NotShort.
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
