//go:build race

package mcpserver

// raceEnabled: the race detector takes memory of its own.
const raceEnabled = true
