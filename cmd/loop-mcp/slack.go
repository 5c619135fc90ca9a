package main

import "runtime"

// slackFrom is from how many messages on a store gets slack while it is read.
const slackFrom = 20_000

// slack spares the garbage collector most of its rounds while a large store is
// read: what it looks at each time grows with what has been read, and stays. It
// makes the heap look larger than it is by memory that nobody writes to, and that
// therefore takes none. over takes it back.
func slack(messages uint64) (over func()) {
	if messages < slackFrom {
		return func() {}
	}
	ballast := make([]byte, 32<<20)
	return func() { runtime.KeepAlive(ballast) }
}
