package domain

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	// maxList limits the size of a list of domains in bytes. More than 100,000 domains fit.
	maxList = 4 << 20
	// maxWrong limits the number of wrong lines that are reported, so that a file of another kind does not fill the screen.
	maxWrong = 10
)

// ReadList reads a list of domains: one on each line, # starts a comment. parse checks a name and returns its normal form. The error lists
// the wrong lines in the form file:line, up to a limit. An empty list is not an error.
func ReadList(r io.Reader, file string, parse func(string) (string, error)) ([]string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxList+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxList {
		return nil, fmt.Errorf("%s: larger than %d MiB, the maximum size of a list of domains", file, maxList>>20)
	}
	var all []string
	var wrong []error
	more := 0
	n := 0
	for line := range strings.SplitSeq(strings.TrimPrefix(string(data), "\ufeff"), "\n") {
		n++
		text, _, _ := strings.Cut(line, "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		switch name, err := parse(text); {
		case err == nil:
			all = append(all, name)
		case len(wrong) < maxWrong:
			wrong = append(wrong, fmt.Errorf("%s:%d: %w", file, n, err))
		default:
			more++
		}
	}
	if more > 0 {
		wrong = append(wrong, fmt.Errorf("%s: %d more lines are wrong", file, more))
	}
	return Unique(all), errors.Join(wrong...)
}

// Unique returns names without repetitions. It keeps their order.
func Unique(names []string) (all []string) {
	known := map[string]bool{}
	for _, name := range names {
		if !known[name] {
			known[name] = true
			all = append(all, name)
		}
	}
	return all
}
