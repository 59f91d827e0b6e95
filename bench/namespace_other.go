//go:build !linux

package main

import "errors"

func reenter() (int, error) { return 1, errors.New("network namespaces need Linux") }

func settle(string) error { return nil } // never called: only the copy that reenter starts calls it
