package rpc

import (
	"errors"
	"maps"
	"slices"
	"sync"
)

// URIsLimit is how many bytes of subscribed URIs a session keeps.
const URIsLimit = 1 << 20

// URIs is a set of resource subscriptions.
type URIs struct {
	mu   sync.Mutex
	set  map[string]struct{}
	size int
}

// SubscribeToResource is SubscribeToResourceErr for callers that take no answer.
func (u *URIs) SubscribeToResource(uri string) { _ = u.SubscribeToResourceErr(uri) }

// SubscribeToResourceErr adds a URI. It refuses more than [URIsLimit] bytes of them.
func (u *URIs) SubscribeToResourceErr(uri string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.set[uri]; ok {
		return nil
	}
	if u.size+len(uri) > URIsLimit {
		return errors.New("too many resources are subscribed; unsubscribe some first")
	}
	if u.set == nil {
		u.set = make(map[string]struct{})
	}
	u.set[uri] = struct{}{}
	u.size += len(uri)
	return nil
}

// UnsubscribeFromResource removes a URI, if it is there.
func (u *URIs) UnsubscribeFromResource(uri string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.set[uri]; ok {
		delete(u.set, uri)
		u.size -= len(uri)
	}
}

// SubscribedResources returns all URIs in order.
func (u *URIs) SubscribedResources() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Sorted(maps.Keys(u.set))
}

// IsSubscribedToResource reports whether a URI is in the set.
func (u *URIs) IsSubscribedToResource(uri string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.set[uri]
	return ok
}
