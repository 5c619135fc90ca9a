package kvstate

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate/mark"
	"example.com/loop-mcp/loops"
)

// A batch costs the server up to four syncs, a new folder and its removal, however
// many commits it has (BenchmarkBatch), so it pays from some number on. The larger
// it is, the longer reads and other commits wait for it.
const (
	worthGroup  = 16
	worthSecond = 64 // beside another one
	maxGroup    = 128
	maxGrouped  = 256 << 10 // bytes of a commit; larger ones go alone
	groupBytes  = 4 << 20
	maxRounds   = 3 // batches that refuse a commit for the sake of others
	perStart    = 3 // other commits for each start, when so many wait
)

// groupPause is how long commits go alone after the server has refused a batch for
// the sake of none of them, say because it has no room to write batches first.
// nats-server 2.15 keeps a goroutine of each such batch for good.
const groupPause = time.Second

// posts are the commits of this process on their way to the server. As many as
// [Options.underWay] says go at once, each on its own; the others wait. When the server syncs
// every message, and many wait, they go together as one atomic batch, which costs
// as many syncs as a few commits. A second batch goes when the first is under way,
// so that the server has something to do while the callers of the first hear of it
// and come again. A commit that could be in a batch does not go alone beside one.
//
// The commits of a batch have nothing to do with each other: when the server
// refuses the batch, the one that is to blame hears of it and the others go again.
// When none is to blame, all go alone, and so do those that come within groupPause.
type posts struct {
	mu       sync.Mutex
	waiting  []*post
	underWay int
	most     int       // under way at once
	group    bool      // many go together
	grouped  int       // batches among them
	apart    time.Time // until then all go alone
	owed     int       // commits that go before the next start

	batches sync.WaitGroup
	send    func(ctx context.Context, id string, group []*post) (last uint64, err error)
	prefix  string // of batch ids
	number  uint64 // of the last batch
}

// post is one commit on its way.
type post struct {
	m       *nats.Msg
	id      loops.ID
	expires int64
	asked   time.Time // when there was room for it
	rounds  int       // refused batches that it was in
	alone   bool      // it goes on its own
	first   bool      // it goes before those that are not: it begins, ends or pauses a loop
	start   bool      // it begins one
	taken   bool      // it waits no more
	left    bool      // its caller waits no more
	noted   bool      // its mark is, with those of its batch

	turn chan posted // has room for one
}

// posted says that it is the turn of a post to be sent by its caller, or what
// became of it.
type posted struct {
	mine bool
	seq  uint64
	err  error
}

func (p *post) size() int { return len(p.m.Data) + maxHeader }

// post sends a commit and returns its sequence. The batch that it is part of goes
// on when ctx ends.
func (s *Store) post(ctx context.Context, p *post) (uint64, error) {
	p.turn, p.taken = make(chan posted, 1), false
	p.alone = p.alone || p.size() > maxGrouped
	p.first = p.first || urgent(ctx)
	s.posts.add(s, p)
	var t posted
	select {
	case t = <-p.turn:
	case <-ctx.Done():
		if !s.posts.withdraw(p) {
			return 0, context.Cause(ctx)
		}
		t = <-p.turn
	}
	if !t.mine {
		return t.seq, t.err
	}
	defer s.posts.done(s)
	// gofail: var beforeAlone struct{}
	return s.send(ctx, p.m, p.asked)
}

// add puts p in the line.
func (q *posts) add(s *Store, p *post) {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := len(q.waiting)
	if p.first {
		at = slices.IndexFunc(q.waiting, func(o *post) bool { return !o.first })
		if at < 0 {
			at = len(q.waiting)
		}
	}
	q.waiting = slices.Insert(q.waiting, at, p)
	q.next(s)
}

// done gives back a turn.
func (q *posts) done(s *Store) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.underWay--
	q.next(s)
}

// withdraw takes p out of the line. true means that there is an answer for its
// caller already.
func (q *posts) withdraw(p *post) (answered bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !p.taken {
		q.waiting = slices.DeleteFunc(q.waiting, func(o *post) bool { return o == p })
		return false
	}
	p.left = len(p.turn) == 0
	return !p.left
}

// next hands out turns. The caller holds mu.
func (q *posts) next(s *Store) {
	for q.underWay < q.most && len(q.waiting) > 0 {
		if group := q.together(); group != nil {
			if q.grouped > 0 {
				s.rush.press()
			}
			q.underWay++
			q.grouped++
			q.number++
			id := q.prefix + strconv.FormatUint(q.number, 36)
			q.batches.Go(func() { s.sendGroup(id, group) })
			continue
		}
		at := q.pick()
		p := q.waiting[at]
		if q.grouped > 0 && !p.alone {
			return
		}
		q.owed = max(0, q.owed-1)
		if p.start {
			q.owed = perStart
		}
		if !q.group && q.underWay+len(q.waiting) >= worthGroup && !s.replicated {
			s.leftovers.press()
			s.rush.press()
		}
		q.underWay++
		q.waiting = slices.Delete(q.waiting, at, at+1)
		p.taken = true
		p.turn <- posted{mine: true}
	}
}

// together takes out of the line what goes as one batch, if that is worth it.
func (q *posts) together() []*post {
	worth := worthGroup
	if q.grouped > 0 {
		worth = worthSecond
	}
	if !q.group || len(q.waiting) < worth || q.waiting[0].alone || time.Now().Before(q.apart) {
		return nil
	}
	group, size, ids, starts := make([]*post, 0, min(len(q.waiting), maxGroup)), 0, make(map[loops.ID]bool, maxGroup), q.starts()
	for _, p := range q.waiting {
		if p.alone || ids[p.id] || p.size() > groupBytes-size || p.start && starts == 0 {
			continue
		}
		if p.start {
			starts--
		}
		if ids[p.id] = true; len(ids) > maxGroup {
			break
		}
		size += p.size()
		group = append(group, p)
	}
	if len(group) < worth {
		return nil
	}
	for _, p := range group {
		p.taken = true
	}
	q.waiting = slices.DeleteFunc(q.waiting, func(p *post) bool { return p.taken })
	return group
}

// pick returns the place of the post that goes alone next: the first, unless that is
// one start after another and others wait. A flood of starts does not keep loops
// that run from going on.
func (q *posts) pick() int {
	if q.owed > 0 && q.waiting[0].start {
		if other := slices.IndexFunc(q.waiting, func(p *post) bool { return !p.start }); other > 0 {
			return other
		}
	}
	return 0
}

// starts returns how many of them one batch takes: all, but for the part of it that
// others have when there are so many.
func (q *posts) starts() int {
	others := 0
	for _, p := range q.waiting {
		if !p.start && !p.alone {
			others++
		}
	}
	return maxGroup - min(others, maxGroup-maxGroup/(1+perStart))
}

// sendGroup sends a batch and says to each of its posts what became of it.
func (s *Store) sendGroup(id string, group []*post) {
	ctx, cancel := s.line.during(context.Background())
	defer cancel()
	again := group
	s.leftovers.press()
	last, err := s.posts.send(ctx, id, group)
	s.leftovers.press()
	var api *jetstream.APIError
	switch {
	case err == nil:
		first := last - uint64(len(group)) + 1
		s.noteGroup(group, first)
		s.posts.endGroup(s, nil)
		for i, p := range group {
			p.turn <- posted{seq: first + uint64(i)}
		}
		return
	case !errors.As(err, &api):
		// Nobody knows what became of it: each finds out for itself.
		s.posts.endGroup(s, nil)
		for _, p := range group {
			p.turn <- posted{err: err}
		}
		return
	default:
		guilty := s.guilty(ctx, api, group)
		if guilty == nil {
			s.posts.part()
		} else {
			again = slices.DeleteFunc(group, func(p *post) bool { return p == guilty })
			guilty.turn <- posted{err: err}
		}
		for _, p := range again {
			p.rounds++
			p.alone = guilty == nil || p.rounds >= maxRounds
		}
	}
	s.posts.endGroup(s, again)
}

// part has all commits go alone for groupPause.
func (q *posts) part() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.apart = time.Now().Add(groupPause)
}

// endGroup ends a batch and puts back in the line what has to go again.
func (q *posts) endGroup(s *Store, again []*post) {
	q.mu.Lock()
	defer q.mu.Unlock()
	again = slices.DeleteFunc(again, func(p *post) bool { return p.left })
	for _, p := range again {
		p.taken = false
	}
	q.waiting = slices.Concat(again, q.waiting)
	q.grouped--
	q.underWay--
	q.next(s)
}

// noteGroup notes the marks of a batch whose first record is at revision first.
func (s *Store) noteGroup(group []*post, first uint64) {
	s.marks.NoteAll(func(yield func(string, mark.Mark) bool) {
		for i, p := range group {
			if p.noted = true; !yield(string(p.id), mark.Mark{Rev: first + uint64(i), Expires: p.expires}) {
				return
			}
		}
	})
}
