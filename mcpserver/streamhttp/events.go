package streamhttp

import (
	"slices"
	"sync"
)

// event is one event of a stream that clients can come back for.
type event struct {
	owner  *log
	stream uint64
	seq    uint64
	data   []byte // nil: too long to be kept
}

// store keeps the latest events of all sessions within a number of bytes. One session has at most a
// quarter of them.
type store struct {
	limit int

	mu    sync.Mutex
	queue []*event // oldest first; dropped ones have no owner
	live  int      // those that have one
	size  int
}

// log is one session's part of a store, oldest first.
type log struct {
	events []*event
	size   int
	closed bool
}

// overhead is about what an event costs besides its data.
const overhead = 100

func (e *event) cost() int { return len(e.data) + overhead }

// add keeps an event and drops the oldest ones where there is no room. Of one that never fits, only
// that it is missing is kept.
func (s *store) add(l *log, stream, seq uint64, data []byte) {
	if len(data)+overhead > s.limit/4 {
		data = nil
	}
	e := &event{owner: l, stream: stream, seq: seq, data: data}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.closed || e.cost() > s.limit/4 {
		return
	}
	for l.size+e.cost() > s.limit/4 {
		s.drop(l.events[0])
	}
	for s.size+e.cost() > s.limit {
		s.trim()
		s.drop(s.queue[0])
	}
	if len(s.queue) > 2*s.live+64 {
		s.queue = slices.DeleteFunc(s.queue, func(e *event) bool { return e.owner == nil })
	}
	s.queue = append(s.queue, e)
	l.events = append(l.events, e)
	s.live++
	s.size += e.cost()
	l.size += e.cost()
}

// trim lets the queue begin with an event that is kept.
func (s *store) trim() {
	for s.queue[0].owner == nil {
		s.queue[0] = nil
		s.queue = s.queue[1:]
	}
}

// drop removes the oldest event of its log. It stays in the queue as an empty one.
func (s *store) drop(e *event) {
	l := e.owner
	l.events[0] = nil
	l.events = l.events[1:]
	l.size -= e.cost()
	s.size -= e.cost()
	s.live--
	e.owner, e.data = nil, nil
}

// after returns the events of a stream that follow seq; false: some of them are not kept any more.
func (s *store) after(l *log, stream, seq uint64) ([]*event, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*event
	for _, e := range l.events {
		if e.stream != stream || e.seq <= seq {
			continue
		}
		if e.data == nil || e.seq != seq+uint64(len(found))+1 {
			return nil, false
		}
		found = append(found, &event{seq: e.seq, data: e.data})
	}
	return found, true
}

// forget drops all events of a session that has ended.
func (s *store) forget(l *log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.closed = true
	for len(l.events) > 0 {
		s.drop(l.events[0])
	}
}
