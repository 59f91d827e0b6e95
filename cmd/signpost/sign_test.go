package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"signpost/internal/dkim"
	"signpost/keys"
)

// Each testdata/sign/*.txtar is run on a host that signs for example.org. Its state is in directory state, its configuration in c.toml,
// and its DNS in zone.
func TestSignScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/sign", Setup: func(e *testscript.Env) error {
		noExitSleep(e)
		key := ed25519.NewKeyFromSeed([]byte("a key for the cases, of 32 bytes"))
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		file := filepath.Join(e.WorkDir, "key.pem")
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
			return err
		}
		state := filepath.Join(e.WorkDir, "state")
		store := keys.Store{State: state, Dir: filepath.Join(state, "keys"), Now: time.Now}
		if err := store.Make(); err != nil {
			return err
		}
		if _, err := store.Import(keys.Foreign{Domain: "example.org", Selector: "sp", Source: file}, "manual"); err != nil {
			return err
		}
		if _, err := store.Activate("example.org", "sp"); err != nil {
			return err
		}
		record, err := dkim.FormatKeyRecord(key.Public())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(e.WorkDir, "zone"), []byte(keys.ZoneText("example.org", "sp", record, time.Hour)), 0o644); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(e.WorkDir, "c.toml"), []byte("state_dir = \""+state+"\"\nauthserv_id = \"mx.example.org\"\n"+
			"[sign]\nlogin_domains = { \"ann@example.org\" = [\"example.org\"] }\n"), 0o644)
	}})
}
