//go:build !race

package spfset_test

const underRace = false
