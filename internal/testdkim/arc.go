package testdkim

import (
	"context"
	"encoding/json"
	"fmt"
)

// ARCOpinion is the result of another implementation for a chain.
type ARCOpinion struct {
	Status string // none, pass or fail
	Detail string
}

// DKIMPyVerifyARC verifies the ARC chain of a message with CRLF line ends.
func DKIMPyVerifyARC(ctx context.Context, msg []byte, records map[string]string) (ARCOpinion, error) {
	out, err := runDKIMPy(ctx, msg, map[string]any{"arc_records": records})
	if err != nil {
		return ARCOpinion{}, err
	}
	var o ARCOpinion
	if err := json.Unmarshal(out, &o); err != nil {
		return ARCOpinion{}, fmt.Errorf("reading dkimpy's answer: %w", err)
	}
	return o, nil
}

// SealOptions are the options of DKIMPySeal, which supports RSA only.
type SealOptions struct {
	Domain     string `json:"domain"`
	Selector   string `json:"selector"`
	Key        string `json:"key"`         // PEM
	AuthservID string `json:"authserv_id"` // authserv-id of the Authentication-Results to seal; after the first hop, these contain arc=
}

// DKIMPySeal returns the message with an ARC set on top.
func DKIMPySeal(ctx context.Context, msg []byte, o SealOptions) ([]byte, error) {
	return runDKIMPy(ctx, msg, map[string]any{"seal": o})
}
