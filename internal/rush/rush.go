// Package rush is how the program treats its processors and its memory while many
// loops commit at once, for the program itself and for benchmarks that do as it does.
//
// Server and loops are goroutines of one process then. What the server has to do for
// all of them waits in the same queues as hundreds of loops that one batch has woken,
// and a processor whose goroutine waits for the disk in a system call does nothing
// else until the runtime takes notice. With twice as many of what the runtime calls
// processors the system shares out the real ones, and a fleet of a thousand loops goes
// a tenth faster (docs/performance.md). A single loop, whose goroutines hand each
// other the work, would be slower by that much: so this lasts only as long as needed.
package rush

import (
	"os"
	"runtime"
)

// slack is by how much the heap looks larger than it is. Nobody writes to that
// memory, and therefore it takes none; the garbage collector comes less often.
const slack = 32 << 20

// Begin is called when many loops begin to commit at once, over when they no longer
// do. A GOMAXPROCS in the environment stays as it is. Not for several callers at once.
func Begin() (over func()) {
	ballast := make([]byte, slack)
	if os.Getenv("GOMAXPROCS") != "" {
		return func() { runtime.KeepAlive(ballast) }
	}
	runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0))
	return func() {
		runtime.KeepAlive(ballast)
		runtime.SetDefaultGOMAXPROCS()
	}
}
