package stdio

import (
	"context"
	"errors"
	"sync"

	"example.com/loop-mcp/mcpserver/internal/rpc"
)

var (
	errBusy      = errors.New("too many requests are in flight; wait for answers, then ask again")
	errDuplicate = errors.New("a request with this id is still in flight; use another id")
	errClosed    = errors.New("the connection is ending")
)

// call is one request or notification of the client's being served.
type call struct {
	rpc.Message
	size   int // bytes of the message
	stream int // the number of a subscriptions/listen stream; 0: not one
	cancel context.CancelFunc

	gone    chan struct{} // closed when the client cancelled it: nothing more is written for it
	handled chan struct{} // closed when its handler has returned
	done    chan struct{} // closed when its answer is queued and its goroutine ends
}

func newCall(m rpc.Message, size int, cancel context.CancelFunc) *call {
	return &call{
		Message: m,
		size:    size,
		cancel:  cancel,
		gone:    make(chan struct{}),
		handled: make(chan struct{}),
		done:    make(chan struct{}),
	}
}

// table holds the calls in flight, bounded in number and bytes.
type table struct {
	maxCalls, maxBytes int
	freed              chan struct{} // gets a token when a call was removed

	mu     sync.Mutex
	all    map[*call]struct{}
	byID   map[string]*call // requests that may be cancelled or collide
	bytes  int
	closed bool
}

func newTable(maxCalls, maxBytes int) *table {
	return &table{
		maxCalls: maxCalls,
		maxBytes: maxBytes,
		freed:    make(chan struct{}, 1),
		all:      make(map[*call]struct{}),
		byID:     make(map[string]*call),
	}
}

// add enters k, or returns errClosed, errDuplicate or errBusy.
func (t *table) add(k *call) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return errClosed
	case k.ID != nil && t.byID[k.Key] != nil:
		return errDuplicate
	case len(t.all) >= t.maxCalls, len(t.all) > 0 && t.bytes+k.size > t.maxBytes:
		return errBusy
	}
	t.all[k] = struct{}{}
	t.bytes += k.size
	if k.ID != nil {
		t.byID[k.Key] = k
	}
	return nil
}

// remove ends k.
func (t *table) remove(k *call) {
	k.cancel()
	t.mu.Lock()
	delete(t.all, k)
	t.bytes -= k.size
	if t.byID[k.Key] == k {
		delete(t.byID, k.Key)
	}
	t.mu.Unlock()
	close(k.done)
	select {
	case t.freed <- struct{}{}:
	default:
	}
}

// cancel cancels and silences the request with the key, if it is in flight and not an initialize,
// which a client must not cancel. Its id is free again at once. It says whether there was one.
func (t *table) cancel(key string) bool {
	t.mu.Lock()
	k := t.byID[key]
	if k == nil || k.Method == rpc.MethodInitialize {
		t.mu.Unlock()
		return false
	}
	delete(t.byID, key) // so gone is closed once
	t.mu.Unlock()
	close(k.gone)
	k.cancel()
	return true
}

// close lets no more calls in and returns those that are.
func (t *table) close() []*call {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	calls := make([]*call, 0, len(t.all))
	for k := range t.all {
		calls = append(calls, k)
	}
	return calls
}
