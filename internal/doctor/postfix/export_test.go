package postfix

import (
	"context"

	"signpost/internal/doctor"
)

// BareNewline returns the findings of the check bare-newline for a Postfix that lacks a parameter.
func BareNewline(ctx context.Context, f Facts, without string) ([]doctor.Finding, error) {
	p, err := readPostconf(ctx, f.Dir)
	if err != nil {
		return nil, err
	}
	delete(p.main, without)
	return (&site{Facts: f, postconf: p}).bareNewline(ctx), nil
}
