// Package setup turns a configuration into what the programs work with: resolvers, the key store, the rules of keys and their
// publishers, the filter and its rules, loggers. It is the only such wiring, so that all programs mean the same by a key of the
// configuration. It does not import the journal: dkimkey and greyskip would link SQLite.
package setup

import "signpost/internal/config"

// Load returns the configuration of a file. If the file does not exist and the command line does not name it, it returns the
// defaults, so that a command works before anything is installed.
func Load(file string, named bool) (*config.Config, error) {
	if !named && !config.Exists(file) {
		return config.Default(), nil
	}
	return config.Load(file)
}
