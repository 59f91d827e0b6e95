package testdkim

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
)

//go:embed maildkim.pl
var mailDKIM string

// MailDKIMVerify returns the results of Perl's Mail::DKIM (libmail-dkim-perl) for every signature of a message, top to bottom.
// Debian's version supports RSA only.
func MailDKIMVerify(ctx context.Context, msg []byte, records map[string]string) ([]Opinion, error) {
	out, err := runMailDKIM(ctx, msg, map[string]any{"records": records})
	if err != nil {
		return nil, err
	}
	var opinions []Opinion
	if err := json.Unmarshal(out, &opinions); err != nil {
		return nil, fmt.Errorf("reading Mail::DKIM's answer: %w", err)
	}
	return opinions, nil
}

// MailDKIMSign returns the message with a signature on top. The key is a PKCS#1 RSA key in base64. The signature has no l=.
func MailDKIMSign(ctx context.Context, msg []byte, o SignOptions) ([]byte, error) {
	return runMailDKIM(ctx, msg, map[string]any{"sign": o})
}

func runMailDKIM(ctx context.Context, msg []byte, job any) ([]byte, error) {
	return runScript(ctx, msg, job, "/usr/bin/perl", "-e", mailDKIM)
}
