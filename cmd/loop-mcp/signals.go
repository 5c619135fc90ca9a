package main

import (
	"os"
	"os/signal"
	"syscall"
)

// endSignals ask the program to end: the keyboard's and those of the system.
func endSignals() []os.Signal { return append(systemSignals(), os.Interrupt) }

// systemSignals tell the program to end: the system's, and that of a terminal that
// is closed, unless it was started to outlive that (nohup).
func systemSignals() []os.Signal {
	signals := []os.Signal{syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// bearClosedPipes makes a write to stdout or stderr fail when nobody is left to
// read it, to the end of the program. Otherwise SIGPIPE would end it at once, and
// leave the processes of its loops behind. Ignoring the signal would not do:
// programs that are started inherit that.
func bearClosedPipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
