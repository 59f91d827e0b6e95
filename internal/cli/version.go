package cli

import (
	"cmp"
	"runtime/debug"
)

// version is set by the linker, which can set only a variable of a package: see Makefile.
var version string

// Number returns the version, which is also the version of the Debian package, or "devel" if the linker did not set it.
func Number() string { return cmp.Or(version, "devel") }

// Version returns the text that --version prints: the version, the commit, and the Go release that built the program.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Number()
	}
	return describe(Number(), info)
}

func describe(number string, info *debug.BuildInfo) string {
	commit, changed := "unknown", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value[:min(7, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				changed = ", changed since"
			}
		}
	}
	return number + " (commit " + commit + changed + ", " + info.GoVersion + ")"
}
