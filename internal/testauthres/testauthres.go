// Package testauthres asks python3-authres of Debian what it reads in Authentication-Results.
package testauthres

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os/exec"
)

//go:embed authres.py
var script string

// Header is what stands in one field.
type Header struct {
	ID      string   `json:"id"` // lower case
	Results []Result `json:"results"`
	Error   string   `json:"error"` // why it cannot be read
}

// Result is one method's result.
type Result struct {
	Method string `json:"method"`
	Value  string `json:"value"`
	Reason string `json:"reason"`
	Props  []Prop `json:"props"`
}

// Prop is a property of a result.
type Prop struct {
	Type  string `json:"type"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Read reads the values of fields, all in one process.
func Read(ctx context.Context, values []string) ([]Header, error) {
	in, err := json.Marshal(values)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/usr/bin/python3", "-c", script)
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("running python3-authres: %w: %s", err, stderr.String())
	}
	var headers []Header
	if err := json.Unmarshal(out, &headers); err != nil {
		return nil, fmt.Errorf("reading python3-authres's answer: %w", err)
	}
	if len(headers) != len(values) {
		return nil, fmt.Errorf("python3-authres answers %d of %d fields", len(headers), len(values))
	}
	return headers, nil
}
