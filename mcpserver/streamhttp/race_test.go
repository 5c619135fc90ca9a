//go:build race

package streamhttp

// raceEnabled tells tests that memory figures mean nothing.
const raceEnabled = true
