package loops

import (
	"context"
	"errors"
	"sync"
	"time"
)

// tellers is how many calls of [Options].Tell are under way at once.
const tellers = 4

// telling marks in the state that somebody is to be told, when the change
// brings what people want to hear of: the loop has settled, or a person has to
// do something. by is the process that tells, empty when none of its kind does.
// The mark is part of the commit that brings the news, so neither is there
// without the other. Whoever moved the loop on knew: then the mark goes.
func (s *State) telling(by string) {
	if !s.concernsPeople() {
		s.Tell = ""
		return
	}
	for _, e := range s.New.Events {
		switch e.Type {
		case EventSettled, EventAttention, EventPaused:
			s.Tell = by
		default:
		}
	}
}

// concernsPeople reports whether the loop stands where a person may want to
// know: settled, asking, or paused by anything but a request.
func (s *State) concernsPeople() bool {
	return s.Status.Settled() || s.Status == NeedsInput || s.Status == Paused && s.Pause != nil && s.Pause.Reason != PauseClient
}

// news tells one piece of news from another of the same loop.
type news struct {
	status          Status
	epoch           uint64
	iteration, pass int
	attention       string
}

func (s State) news() news {
	n := news{status: s.Status, epoch: s.Epoch, iteration: s.Iteration, pass: s.Pass}
	if s.Attention != nil && s.Status == NeedsInput {
		n.attention = s.Attention.ID
	}
	return n
}

// teller calls [Options].Tell for what this process committed, and, while it
// works on loops, for what a process that is gone left untold.
type teller struct {
	slots chan struct{}
	tasks sync.WaitGroup

	mu     sync.Mutex
	closed bool
	ctx    context.Context // ends when Told has waited long enough
	cancel context.CancelFunc
	busy   map[ID]bool   // loops that somebody tells about; true: there is more to look at
	others map[ID]string // who is to tell about a loop, as far as that is another process
}

func newTeller() *teller {
	t := &teller{slots: make(chan struct{}, tellers), busy: map[ID]bool{}, others: map[ID]string{}}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// commit stores s with the marks that it needs.
func (e *Engine) commit(ctx context.Context, s State) (State, error) {
	err := e.commitState(ctx, &s)
	return s, err
}

// commitState is commit that leaves in s what is stored.
func (e *Engine) commitState(ctx context.Context, s *State) error {
	by := ""
	if e.opts.Tell != nil {
		by = e.store.Runner()
	}
	if s.Origin.Parent != "" {
		s.Changes++
	}
	s.telling(by)
	made := s.UpdatedAt
	if err := commitTo(ctx, e.store, s); err != nil {
		return err
	}
	s.UpdatedAt = made // with its monotonic reading
	e.clock.stored(s)
	e.heard(s.ID, s.Tell)
	return nil
}

// heard notes who is to tell about a loop, and tells when that is this process.
func (e *Engine) heard(id ID, by string) {
	if e.opts.Tell == nil {
		return
	}
	t := e.teller
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.others, id)
	switch {
	case by == "" || t.closed:
	case by != e.store.Runner():
		t.others[id] = by
	default:
		t.start(id, func() { e.tell(id, by) })
	}
}

// tell tells about a loop as long as there are news that by is to tell.
func (e *Engine) tell(id ID, by string) {
	t := e.teller
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-t.ctx.Done():
	}
	var told news
	for more := by == e.store.Runner() || e.takeOver(id, by); t.goesOn(id, more); {
		var err error
		switch more, err = e.tellNews(t.ctx, id, &told); {
		case err == nil:
		case errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrClosed) || t.ctx.Err() != nil:
			more = false
		default:
			e.opts.Logger.Warn("who has to be told about a loop can't be found out; it is tried again", "loop", id, "cause", err)
			more = sleep(t.ctx, time.Second)
		}
	}
}

// goesOn reports whether there may be more news of a loop; if not, nobody is
// busy with it any more.
func (t *teller) goesOn(id ID, more bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	more = (more || t.busy[id]) && t.ctx.Err() == nil
	t.busy[id] = false
	if !more {
		delete(t.busy, id)
	}
	return more
}

// takeOver makes this process the one that tells, unless another was faster.
func (e *Engine) takeOver(id ID, by string) bool {
	s, err := e.store.Load(e.teller.ctx, id)
	if err != nil || s.Tell != by {
		return false
	}
	s.Tell = e.store.Runner()
	_, err = e.store.Commit(e.teller.ctx, s)
	if err != nil && !errors.Is(err, ErrConflict) {
		e.opts.Logger.Debug("left the news of another process", "loop", id, "cause", err)
	}
	return err == nil
}

// tellNews tells the news of a loop, unless they are told already, and takes the
// mark away. more: the loop changed meanwhile.
func (e *Engine) tellNews(ctx context.Context, id ID, told *news) (more bool, err error) {
	s, err := e.store.Load(ctx, id)
	if err != nil || s.Tell != e.store.Runner() {
		return false, err
	}
	if now := s.news(); now != *told {
		err := e.opts.Tell(ctx, s)
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if err != nil {
			e.opts.Logger.Warn("telling somebody about a loop did not work; it is not tried again", "loop", id, "cause", err)
		}
		*told = now
	}
	s.Tell = ""
	_, err = e.store.Commit(ctx, s)
	if errors.Is(err, ErrConflict) {
		return true, nil
	}
	return false, err
}

// tellForOthers takes over the news of processes that are gone, until ctx ends.
func (e *Engine) tellForOthers(ctx context.Context) {
	if e.opts.Tell == nil {
		return
	}
	for sleep(ctx, time.Second) {
		e.teller.adopt(e.alive, e.tell)
	}
}

func (e *Engine) alive(owner string) bool { return e.opts.Alive != nil && e.opts.Alive(owner) }

// adopt tells what those who are gone were to tell.
func (t *teller) adopt(alive func(string) bool, tell func(ID, string)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	lives := map[string]bool{}
	for id, by := range t.others {
		if _, asked := lives[by]; !asked {
			lives[by] = alive(by)
		}
		if lives[by] || t.closed {
			continue
		}
		delete(t.others, id)
		t.start(id, func() { tell(id, by) })
	}
}

// start begins to tell about a loop, or makes sure that whoever is at it looks
// again. mu is held.
func (t *teller) start(id ID, tell func()) {
	_, busy := t.busy[id]
	t.busy[id] = busy
	if !busy {
		t.tasks.Go(tell)
	}
}

// Telling reports whether news are on their way: [Options].Tell has been called
// or will be.
func (e *Engine) Telling() bool {
	e.teller.mu.Lock()
	defer e.teller.mu.Unlock()
	return len(e.teller.busy) > 0
}

// Told returns when the calls of [Options].Tell that this process owes have
// ended, or soon after ctx does: then what has not been told is left to another
// process. Nothing is told after it. Call it after Run, before the store closes.
func (e *Engine) Told(ctx context.Context) {
	t := e.teller
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	defer t.cancel()
	defer context.AfterFunc(ctx, t.cancel)()
	t.tasks.Wait()
}
