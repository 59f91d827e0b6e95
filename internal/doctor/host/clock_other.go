//go:build !linux

package host

import "errors"

// synchronised returns an error, because this system does not report whether the clock is synchronised.
func synchronised() (bool, error) { return false, errors.ErrUnsupported }
