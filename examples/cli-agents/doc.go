// Package cliagents holds the tests of the loop files; README.md says what they
// are for.
package cliagents
