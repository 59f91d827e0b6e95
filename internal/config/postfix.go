package config

import (
	"errors"
	"fmt"
	"strings"

	"signpost/internal/lookup"
)

// The values in this file have the form that they have in main.cf.

// tables reads a list of Postfix lookup tables.
func tables(to *[]string, v any) error {
	return list(to, v, func(s string) (string, error) {
		if err := lookup.Valid(s); err != nil {
			return "", fmt.Errorf("%.60q: %w", s, err)
		}
		return s, nil
	})
}

// delimiter reads recipient_delimiter: each of its characters separates an address from its extension.
func delimiter(to *string, v any) error {
	if err := text(to, v); err != nil {
		return err
	}
	wrong := func(r rune) bool {
		return r <= ' ' || r > '~' || r == '@' || r == '"' || r == '\\' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	if strings.ContainsFunc(*to, wrong) {
		return errors.New("must contain only punctuation, such as \"+\" or \"-+\": see postconf(5)")
	}
	return nil
}
