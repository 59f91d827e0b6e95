// Package testauthres parses Authentication-Results with two other implementations from Debian: python3-authres, and
// Mail::AuthenticationResults (libmail-authenticationresults-perl). libmail-dkim-perl depends on the second one.
package testauthres

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os/exec"

	"signpost/internal/testport"
)

//go:embed authres.py
var script string

//go:embed authres.pl
var perlScript string

// Header is the content of one field.
type Header struct {
	ID      string   `json:"id"` // lower case
	Results []Result `json:"results"`
	Error   string   `json:"error"` // why it cannot be parsed
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

// Read parses the values of fields with python3-authres, all in one process.
func Read(ctx context.Context, values []string) ([]Header, error) {
	return run(exec.CommandContext(ctx, "/usr/bin/python3", "-c", script), values)
}

// ReadPerl parses the values of fields with Mail::AuthenticationResults, all in one process.
func ReadPerl(ctx context.Context, values []string) ([]Header, error) {
	return run(exec.CommandContext(ctx, "/usr/bin/perl", "-e", perlScript), values)
}

func run(cmd *exec.Cmd, values []string) ([]Header, error) {
	if err := testport.NotShort(); err != nil {
		return nil, err
	}
	in, err := json.Marshal(values)
	if err != nil {
		return nil, err
	}
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("running %s: %w: %s", cmd.Path, err, stderr.String())
	}
	var headers []Header
	if err := json.Unmarshal(out, &headers); err != nil {
		return nil, fmt.Errorf("reading the output of %s: %w", cmd.Path, err)
	}
	if len(headers) != len(values) {
		return nil, fmt.Errorf("%s parsed %d of %d fields", cmd.Path, len(headers), len(values))
	}
	return headers, nil
}
