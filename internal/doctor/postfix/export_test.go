package postfix

import (
	"context"

	"signpost/internal/doctor"
)

// BareNewline returns what bare-newline finds with a Postfix that does not have a parameter.
func BareNewline(ctx context.Context, f Facts, without string) ([]doctor.Finding, error) {
	p, err := readPostconf(ctx, f.Dir)
	if err != nil {
		return nil, err
	}
	delete(p.main, without)
	return (&site{Facts: f, postconf: p}).bareNewline(ctx), nil
}
