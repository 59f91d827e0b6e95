package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"signpost/internal/config"
	"signpost/internal/dns"
	"signpost/keys"
	"signpost/keys/publish"
)

// KeyStore returns the store of the keys and their metadata.
func KeyStore(conf *config.Config) keys.Store {
	return keys.Store{State: conf.StateDir, Dir: conf.KeysDir(), Now: time.Now}
}

// KeyRules returns a function that returns the rules for the rotation of a domain's keys.
func KeyRules(conf *config.Config) func(domain string) keys.Rules {
	return func(domain string) keys.Rules {
		p := conf.PublishFor(domain)
		return keys.Rules{
			Algorithms: conf.Keys.Algorithms, Bits: conf.Keys.RSABits,
			RotateEvery: conf.RotateEveryFor(domain), RetireAfter: conf.Keys.RetireAfter, KeepRevoked: conf.Keys.KeepRevoked,
			Ring: conf.Keys.Selectors, Method: p.Method, TTL: p.TTL,
		}
	}
}

// Publisher returns the publisher of a domain's records. It returns an error if publish.method is "manual", or if the TSIG secret cannot be
// read.
func Publisher(conf *config.Config, domain string, store keys.Store, authority *dns.Authority) (keys.Publisher, error) {
	p := conf.PublishFor(domain)
	switch p.Method {
	case "rfc2136":
		secret, err := publish.ReadTSIGSecret(p.TSIGSecretFile, p.TSIGName, p.TSIGAlgorithm)
		if err != nil {
			return nil, fmt.Errorf("%s.tsig_secret_file: %w", conf.PublishTable(domain), err)
		}
		server, err := config.AddrPort(p.Server)
		if err != nil {
			return nil, err
		}
		return publish.Update{Server: server.String(), Authority: authority, TSIGName: p.TSIGName, Algorithm: p.TSIGAlgorithm, Secret: secret, Timeout: p.Timeout}, nil
	case "zonefile":
		return publish.OneAtATime{Publisher: publish.ZoneFile{Path: p.Path, Reload: p.Reload, Timeout: p.Timeout}, Store: store, Timeout: p.Timeout}, nil
	case "command":
		return publish.OneAtATime{Publisher: publish.Command{Argv: p.Argv, Timeout: p.Timeout}, Store: store, Timeout: p.Timeout}, nil
	}
	return nil, fmt.Errorf("publish.method is %s", p.Method)
}

// Snapshot returns the keys that a daemon would use if it started now. It changes nothing. It returns an error if a key cannot be read for
// lack of permission.
func Snapshot(conf *config.Config) (*keys.Snapshot, error) {
	store := KeyStore(conf)
	set, err := store.Load(nil)
	if err != nil {
		return nil, err
	}
	hosted, err := store.Hosted()
	if err != nil {
		return nil, err
	}
	for _, d := range set.Domains() {
		hosted[d] = true
	}
	for _, k := range set.All() {
		if errors.Is(k.Err, fs.ErrPermission) {
			return nil, k.Err // the daemon may be able to read it
		}
	}
	return &keys.Snapshot{Set: set, Hosted: hosted}, nil
}
