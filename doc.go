// Package signpost is the root of the module. Start with README.md.
package signpost
