//go:build !linux

package host

import "errors"

// synchronised cannot be known on this system.
func synchronised() (bool, error) { return false, errors.ErrUnsupported }
