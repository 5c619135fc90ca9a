// Package refinedraft holds the test of the example; README.md says what it
// shows.
package refinedraft
