//go:build !race

package senders_test

const underRace = false
