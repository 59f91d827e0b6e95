// Package testdkim runs other DKIM implementations from Debian, to compare results: dkimpy (python3-dkim), OpenDKIM and Mail::DKIM
// (libmail-dkim-perl). They use no network, because the key records are passed as arguments, by DNS name.
package testdkim

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"signpost/internal/testport"
)

//go:embed dkimpy.py
var dkimpy string

// Opinion is the result of another implementation for one signature.
type Opinion struct {
	Domain, Selector string
	OK               bool
	Detail           string // why the signature does not pass
}

// DKIMPyVerify verifies every signature of a message with CRLF line ends, top to bottom.
func DKIMPyVerify(ctx context.Context, msg []byte, records map[string]string) ([]Opinion, error) {
	out, err := runDKIMPy(ctx, msg, map[string]any{"records": records})
	if err != nil {
		return nil, err
	}
	var opinions []Opinion
	if err := json.Unmarshal(out, &opinions); err != nil {
		return nil, fmt.Errorf("reading dkimpy's answer: %w", err)
	}
	return opinions, nil
}

// DKIMPyVerifyAll is DKIMPyVerify for several messages, in one process.
func DKIMPyVerifyAll(ctx context.Context, all [][]byte, records map[string]string) ([][]Opinion, error) {
	sizes := make([]int, len(all))
	for i, msg := range all {
		sizes[i] = len(msg)
	}
	out, err := runDKIMPy(ctx, bytes.Join(all, nil), map[string]any{"records": records, "sizes": sizes})
	if err != nil {
		return nil, err
	}
	var opinions [][]Opinion
	if err := json.Unmarshal(out, &opinions); err != nil {
		return nil, fmt.Errorf("reading dkimpy's answer: %w", err)
	}
	return opinions, nil
}

// SignOptions are the options of DKIMPySign.
type SignOptions struct {
	Domain    string `json:"domain"`
	Selector  string `json:"selector"`
	Key       string `json:"key"` // PEM for RSA; base64 of the seed for Ed25519
	Algorithm string `json:"algorithm"`
	Header    string `json:"header"` // simple or relaxed
	Body      string `json:"body"`
	Length    bool   `json:"length"` // with l=
}

// DKIMPySign returns the message with a signature on top.
func DKIMPySign(ctx context.Context, msg []byte, o SignOptions) ([]byte, error) {
	return runDKIMPy(ctx, msg, map[string]any{"sign": o})
}

func runDKIMPy(ctx context.Context, msg []byte, job any) ([]byte, error) {
	return runScript(ctx, msg, job, "/usr/bin/python3", "-c", dkimpy)
}

// runScript runs a script with Debian's own Python or Perl, because another interpreter in PATH does not have Debian's packages.
func runScript(ctx context.Context, msg []byte, job any, interpreter, flag, script string) ([]byte, error) {
	if err := testport.NotShort(); err != nil {
		return nil, err
	}
	arg, err := json.Marshal(job)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, interpreter, flag, script, string(arg))
	cmd.Stdin = bytes.NewReader(msg)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("running a script of testdkim with %s: %w\n%s", interpreter, err, errs.String())
	}
	return out, nil
}

// OpenDKIMVerify runs opendkim's test mode on a message and returns its result. Debian's OpenDKIM 2.11 supports RSA only.
func OpenDKIMVerify(ctx context.Context, msg []byte, records map[string]string) (Opinion, error) {
	if err := testport.NotShort(); err != nil {
		return Opinion{}, err
	}
	dir, err := os.MkdirTemp("", "testdkim")
	if err != nil {
		return Opinion{}, err
	}
	defer os.RemoveAll(dir)
	var keys strings.Builder
	for name, record := range records {
		fmt.Fprintf(&keys, "%s %s\n", name, record)
	}
	files := map[string]string{
		"message": string(msg),
		"keys":    keys.String(),
		"conf":    "TestPublicKeys " + filepath.Join(dir, "keys") + "\nMode v\nSyslog no\nPidFile " + filepath.Join(dir, "pid") + "\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return Opinion{}, err
		}
	}
	out, err := exec.CommandContext(ctx, "/usr/sbin/opendkim", "-x", filepath.Join(dir, "conf"), "-t", filepath.Join(dir, "message"), "-vv").CombinedOutput()
	if err != nil {
		if _, ok := err.(*exec.ExitError); !ok {
			return Opinion{}, fmt.Errorf("running opendkim: %w", err)
		}
	}
	ok := regexp.MustCompile(`verification \(s=\S+ d=\S+, \d+-bit key[^)]*\) succeeded`).Match(out)
	return Opinion{OK: ok, Detail: strings.TrimSpace(string(out))}, nil
}
