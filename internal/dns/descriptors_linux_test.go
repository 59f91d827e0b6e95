package dns_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// If there are no free file descriptors, reserved lookups report this. They work again as soon as descriptors are free.
func TestDescriptorsRunOut(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	good := server(t, "a.example. 0 IN TXT here\n")
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(os.DevNull) // the number of a new descriptor is about the number of open descriptors
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	const spare = 10
	few := before
	few.Cur = uint64(file.Fd()) + spare
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
	}
	defer restore()

	slow := resolver(time.Minute, silent.LocalAddr().String())
	ctx, leave := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var lacked atomic.Int32
	for i := range 2 * spare {
		all.Go(func() {
			v := slow.View(netip.Addr{}).Reserved()
			_, err := v.LookupTXT(ctx, fmt.Sprintf("n%d.example", i))
			if kind(err) != "temporary" {
				t.Error(err)
			}
			if v.Exhausted() {
				lacked.Add(1)
			}
		})
	}
	for end := time.Now().Add(30 * time.Second); lacked.Load() < spare && time.Now().Before(end); {
		runtime.Gosched()
	}
	if n := lacked.Load(); n < spare {
		t.Errorf("%d lookups without a descriptor, want at least %d", n, spare)
	}
	leave()
	all.Wait()
	restore()
	v := resolver(10*time.Second, good.Addr()).View(netip.Addr{}).Reserved()
	if got, err := v.LookupTXT(t.Context(), "a.example"); err != nil || len(got) != 1 || v.Exhausted() {
		t.Errorf("%q %v, exhausted %v", got, err, v.Exhausted())
	}
}
