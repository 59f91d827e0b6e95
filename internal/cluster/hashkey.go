package cluster

import (
	"encoding/hex"
	"path/filepath"

	"signpost/internal/durable"
)

const hashKeyName = "hash.key"

// writeHashKey writes the key of the words that replace addresses to STATE_DIR/cluster/hash.key, for the journal of the daemon. All hosts
// have the same key, so an address has the same word on each host. The site key cannot be derived from it.
func (h *Host) writeHashKey() error {
	text := hex.EncodeToString(h.sealKey().addresses) + "\n"
	if text == h.hashKey {
		return nil
	}
	state := h.Store.State
	tree := durable.Tree{state}
	if err := tree.MakeDir(filepath.Join(state, stateDir)); err != nil {
		return err
	}
	if err := tree.Write(filepath.Join(state, stateDir, hashKeyName), []byte(text), state, 0o600); err != nil {
		return err
	}
	h.hashKey = text
	return nil
}
