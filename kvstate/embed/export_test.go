package embed

import (
	"context"
	"time"
)

// JoinTCP joins as on systems without Unix sockets.
func JoinTCP(ctx context.Context, opts Options) (*Member, error) {
	return join(ctx, opts, true, joinPatience)
}

// JoinBriefly waits a moment only for a host that does not answer.
func JoinBriefly(ctx context.Context, opts Options) (*Member, error) {
	return join(ctx, opts, false, 10*time.Millisecond)
}

// MaxSocketPath is how long the path of a socket may be.
const MaxSocketPath = maxSocketPath

// WithProtocol is a program of another protocol.
func WithProtocol(o Options, protocol int) Options {
	o.protocol = protocol
	return o
}

// On is a directory on that kind of network file system.
func On(o Options, kind string) Options {
	o.network = func(string) string { return kind }
	return o
}

// Holds verifies that somebody's lock on a file keeps others out.
func Holds(path string) error { return holds(path) }

// OlderVersion is the order of releases.
func OlderVersion(a, b string) bool { return olderVersion(a, b) }

// WithAway looks for the folder of the store that often, and gives up one that was
// away for so long.
func WithAway(o Options, look, away time.Duration) Options {
	o.look, o.away = look, away
	return o
}

// WorksWhileTried reports whether a directory that works is known to while another
// try is under way, and afterwards.
func WorksWhileTried(dir string) (meanwhile, after bool) {
	f := &folder{path: dir}
	f.trying.Lock()
	meanwhile = f.works()
	f.trying.Unlock()
	return meanwhile, f.works()
}
