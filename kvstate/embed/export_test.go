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
