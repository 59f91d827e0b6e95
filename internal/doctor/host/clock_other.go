//go:build !linux

package host

import "errors"

// synchronised returns an error: this system does not report it.
func synchronised() (bool, error) { return false, errors.ErrUnsupported }
