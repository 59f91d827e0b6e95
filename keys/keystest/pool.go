package keystest

import (
	"crypto/rsa"
	"sync"

	"signpost/keys"
)

// Pool is a pool of RSA keys that tests share, because the creation of a key takes longer than most tests.
type Pool struct {
	mu   sync.Mutex
	keys map[int][]*rsa.PrivateKey // by bits
}

// Source returns a function in place of [keys.NewRSA]. The function never returns the same key twice. Functions of other calls of Source
// return the same keys. They are for tests that do not share a zone.
func (p *Pool) Source() func(bits int) (*rsa.PrivateKey, error) {
	used := map[int]int{}
	return func(bits int) (*rsa.PrivateKey, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		n := used[bits]
		if n == len(p.keys[bits]) {
			key, err := keys.NewRSA(bits)
			if err != nil {
				return nil, err
			}
			if p.keys == nil {
				p.keys = map[int][]*rsa.PrivateKey{}
			}
			p.keys[bits] = append(p.keys[bits], key)
		}
		used[bits] = n + 1
		return p.keys[bits][n], nil
	}
}
