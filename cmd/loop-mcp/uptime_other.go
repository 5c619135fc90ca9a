//go:build !linux

package main

import "time"

// knownUptime is what an engine is given: here nothing tells a clock that was set
// ahead from a machine that slept.
var knownUptime func() time.Duration
