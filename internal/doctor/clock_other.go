//go:build !linux

package doctor

import "errors"

// synchronised is not known here.
func synchronised() (bool, error) { return false, errors.ErrUnsupported }
