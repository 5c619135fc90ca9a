package streamhttp

import (
	"context"
	"sync"
	"time"

	"example.com/loop-mcp/mcpserver/internal/rpc"
)

// clientSession is what an initialize established: a client of the older era. It is registered with
// the server for notifications outside a request.
type clientSession struct {
	rpc.Client
	owner   string
	ctx     context.Context // of its calls; ends with the session
	end     context.CancelFunc
	events  *store
	log     log
	outside *stream // what it gets outside requests
	asks    rpc.Asks

	mu      sync.Mutex
	calls   map[string]*call   // requests in flight, by id
	streams map[uint64]*stream // of requests in flight, by number
	number  uint64             // of the latest
	users   int                // requests and streams under way
	used    time.Time          // when the last of them ended
	expiry  *time.Timer        // ends the session; stopped while it is in use
	ended   bool
}
