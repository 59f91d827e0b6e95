package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// bareName is the name of the table row that measures only the cryptographic operations of a message, without a server.
const bareName = "bare cryptography"

// bare returns the processor time of one SHA-256 over a message and one RSA signature or verification by Go's library. The operations
// run on all cores at once, as on a server under load.
func bare(key *rsa.PrivateKey, role string, size int, d time.Duration) (time.Duration, error) {
	message := make([]byte, size)
	sum := sha256.Sum256(message)
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		return 0, err
	}
	once := func() error {
		sum := sha256.Sum256(message)
		if role == verifying {
			return rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signature)
		}
		_, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
		return err
	}
	cores := runtime.GOMAXPROCS(0)
	times, errs := make([]time.Duration, cores), make([]error, cores)
	var group sync.WaitGroup
	for i := range cores {
		group.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			times[i], errs[i] = threadTime(once, d)
		})
	}
	group.Wait()
	var mean time.Duration
	for _, t := range times {
		mean += t / time.Duration(cores)
	}
	return mean, errors.Join(errs...)
}

// threadTime returns the processor time of f, which it calls repeatedly for a while.
func threadTime(f func() error, d time.Duration) (time.Duration, error) {
	var before, after unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &before); err != nil {
		return 0, err
	}
	n := 0
	for until := time.Now().Add(d); n == 0 || time.Now().Before(until); n++ {
		if err := f(); err != nil {
			return 0, err
		}
	}
	err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &after)
	return time.Duration(after.Nano()-before.Nano()) / time.Duration(n), err
}
