package main

import (
	"time"

	"golang.org/x/sys/unix"
)

const getTermios = unix.TCGETS

// redirect makes descriptor to mean what from means. Not every Linux has dup2.
func redirect(from, to int) error { return unix.Dup3(from, to, 0) }

// knownUptime is how long the machine has been up, with the time that it slept.
func knownUptime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
