// Package clientdriven holds the test of the example: README.md is a transcript,
// and the test replays it.
package clientdriven
