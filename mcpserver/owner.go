package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"example.com/loop-mcp/loops"
)

type ownerKey struct{}

// WithOwner returns a context for calls that arrive over a network on behalf of
// owner: the name of a token, or "" where none is needed. The loops that they
// start belong to the owner and have ids that nobody can guess. With a name, all
// other loops are unknown ids to them.
func WithOwner(ctx context.Context, owner string) context.Context {
	return context.WithValue(ctx, ownerKey{}, owner)
}

// ownedBy is what a call with that context may do with e.
func ownedBy(ctx context.Context, e engineAPI) engineAPI {
	owner, remote := ctx.Value(ownerKey{}).(string)
	switch {
	case !remote:
		return e
	case owner == "":
		return &remoteEngine{e}
	}
	return &ownedEngine{engine: e, owner: owner}
}

// remoteEngine starts loops with secret ids.
type remoteEngine struct{ engineAPI }

func (r *remoteEngine) Start(ctx context.Context, q loops.StartRequest) (loops.Outcome, error) {
	q.SecretID = true
	return r.engineAPI.Start(ctx, q)
}

func (r *remoteEngine) Fork(ctx context.Context, q loops.ForkRequest) (loops.Outcome, error) {
	q.SecretID = true
	return r.engineAPI.Fork(ctx, q)
}

// ownedEngine is the part of an engine that belongs to one owner, for one call.
// It embeds nothing: a method that the tools come to need is missing here until
// somebody has thought about what it shows.
type ownedEngine struct {
	engine engineAPI
	owner  string

	mu   sync.Mutex
	mine map[loops.ID]bool // known to be the owner's; that never changes
}

var _ engineAPI = (*ownedEngine)(nil)

// own returns an error like that for an unknown id, unless the loop belongs to
// the owner.
func (o *ownedEngine) own(ctx context.Context, id loops.ID) error {
	if o.knows(id) {
		return nil
	}
	s, err := o.engine.Get(ctx, id)
	if err != nil {
		return err
	}
	_, err = o.admit(ctx, s)
	return err
}

func (o *ownedEngine) knows(id loops.ID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mine[id]
}

func (o *ownedEngine) learn(id loops.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mine == nil {
		o.mine = map[loops.ID]bool{}
	}
	o.mine[id] = true
}

// admit returns s if it belongs to the owner.
func (o *ownedEngine) admit(ctx context.Context, s loops.State) (loops.State, error) {
	if s.Origin.Owner != o.owner {
		listed, err := o.listed(ctx, s)
		if err != nil {
			return loops.State{}, err
		}
		if !listed {
			return loops.State{}, fmt.Errorf("loop %s: %w", s.ID, loops.ErrNotFound)
		}
	}
	o.learn(s.ID)
	return s, nil
}

// listed reports whether a damaged loop, whose origin can't be read, is in the
// owner's list.
func (o *ownedEngine) listed(ctx context.Context, s loops.State) (bool, error) {
	if s.Origin.Owner != "" || s.Stop == nil || s.Stop.Reason != loops.FailQuarantined {
		return false, nil
	}
	f := loops.Filter{Owner: o.owner, Statuses: []loops.Status{loops.Failed}, Limit: 100}
	for {
		heads, next, err := o.engine.List(ctx, f)
		if err != nil {
			return false, err
		}
		for _, h := range heads {
			if h.ID == s.ID {
				return true, nil
			}
		}
		if f.Page = next; next == "" {
			return false, nil
		}
	}
}

func (o *ownedEngine) Fork(ctx context.Context, r loops.ForkRequest) (loops.Outcome, error) {
	_, missing := o.engine.Get(ctx, r.Loop)
	if err := o.own(ctx, r.Loop); err != nil && (r.RequestID == "" || !errors.Is(missing, loops.ErrNotFound)) {
		return loops.Outcome{}, err // the fork of a loop that is gone may be there, under its request id
	}
	r.Owner, r.SecretID = o.owner, true
	out, err := o.engine.Fork(ctx, r)
	if err == nil {
		out.State, err = o.admit(ctx, out.State)
	}
	return out, err
}

func (o *ownedEngine) Start(ctx context.Context, r loops.StartRequest) (loops.Outcome, error) {
	r.Owner, r.SecretID = o.owner, true
	out, err := o.engine.Start(ctx, r)
	if err == nil {
		out.State, err = o.admit(ctx, out.State)
	}
	return out, err
}

func (o *ownedEngine) DryRun(ctx context.Context, r loops.StartRequest) (loops.Spec, []string, error) {
	r.Owner, r.SecretID = o.owner, true
	return o.engine.DryRun(ctx, r)
}

func (o *ownedEngine) Do(ctx context.Context, id loops.ID, r loops.Request) (loops.Outcome, error) {
	if err := o.own(ctx, id); err != nil {
		return loops.Outcome{}, err
	}
	return o.engine.Do(ctx, id, r)
}

func (o *ownedEngine) Get(ctx context.Context, id loops.ID) (loops.State, error) {
	s, err := o.engine.Get(ctx, id)
	if err != nil {
		return s, err
	}
	return o.admit(ctx, s)
}

func (o *ownedEngine) History(ctx context.Context, id loops.ID) (loops.Loop, error) {
	if err := o.own(ctx, id); err != nil {
		return loops.Loop{}, err
	}
	return o.engine.History(ctx, id)
}

func (o *ownedEngine) Output(ctx context.Context, id loops.ID, t loops.Text) (string, error) {
	if err := o.own(ctx, id); err != nil {
		return "", err
	}
	return o.engine.Output(ctx, id, t)
}

func (o *ownedEngine) List(ctx context.Context, f loops.Filter) ([]loops.Head, string, error) {
	f.Owner = o.owner
	return o.engine.List(ctx, f)
}

func (o *ownedEngine) Wait(ctx context.Context, id loops.ID, cursor uint64, what loops.WaitFor, d time.Duration, see func(loops.Head)) (loops.State, bool, error) {
	if err := o.own(ctx, id); err != nil {
		return loops.State{}, false, err
	}
	return o.engine.Wait(ctx, id, cursor, what, d, see)
}

func (o *ownedEngine) Watch(ctx context.Context, id loops.ID) iter.Seq2[loops.Head, error] {
	return func(yield func(loops.Head, error) bool) {
		if err := o.own(ctx, id); err != nil {
			yield(loops.Head{}, err)
			return
		}
		o.engine.Watch(ctx, id)(yield)
	}
}

// Live shows only loops that this call has read before: it can't ask whose
// another is.
func (o *ownedEngine) Live(id loops.ID) (loops.Live, time.Time, bool) {
	if !o.knows(id) {
		return loops.Live{}, time.Time{}, false
	}
	return o.engine.Live(id)
}

func (o *ownedEngine) Recent(ctx context.Context, id loops.ID) ([]loops.LiveLine, error) {
	if err := o.own(ctx, id); err != nil {
		return nil, err
	}
	return o.engine.Recent(ctx, id)
}

func (o *ownedEngine) RunsWhile(s loops.State) string { return o.engine.RunsWhile(s) }

// Key returns a key of the store, which shows no loop.
func (o *ownedEngine) Key(ctx context.Context, name string) ([]byte, error) {
	return o.engine.Key(ctx, name)
}

func (o *ownedEngine) Scan(ctx context.Context, see func(*loops.Head)) error {
	return o.engine.Scan(ctx, func(h *loops.Head) {
		if h.Owner == o.owner {
			see(h)
		}
	})
}

func (o *ownedEngine) Transcript(ctx context.Context, id loops.ID, from int) iter.Seq2[loops.Utterance, error] {
	return func(yield func(loops.Utterance, error) bool) {
		if err := o.own(ctx, id); err != nil {
			yield(loops.Utterance{}, err)
			return
		}
		o.engine.Transcript(ctx, id, from)(yield)
	}
}
