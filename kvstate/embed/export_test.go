package embed

import "context"

// JoinTCP joins as on systems without Unix sockets.
func JoinTCP(ctx context.Context, opts Options) (*Member, error) { return join(ctx, opts, true) }

// MaxSocketPath is how long the path of a socket may be.
const MaxSocketPath = maxSocketPath
