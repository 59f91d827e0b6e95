// Package signpost is the root of the module; README.md is the way in.
package signpost
