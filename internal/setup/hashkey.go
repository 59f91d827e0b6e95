package setup

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"signpost/internal/config"
)

// HashKey returns the key of the words that replace addresses in the journals of a cluster, if journal.addresses is hash. It returns nil if
// this host does not belong to a cluster, or signpost-cluster has not written the file yet.
func HashKey(conf *config.Config) ([]byte, error) {
	if !conf.Clustered() {
		return nil, nil
	}
	text, err := os.ReadFile(conf.HashKeyFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("%s: not a key in hexadecimal", conf.HashKeyFile())
	}
	return key, nil
}
