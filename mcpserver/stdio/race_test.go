//go:build race

package stdio

// raceEnabled tells tests that memory figures mean nothing.
const raceEnabled = true
