package loops

import (
	"context"
	"strings"
)

// Aliver is what a [Store] has besides when it knows which workers live.
type Aliver interface {
	// Alive reports whether the worker with that [Claim].Owner lives, or may. It is
	// quick, and may be called while the store shows heads.
	Alive(owner string) bool
}

// abandoned reports whether the worker that has a claim is gone: nobody moves the
// loop before another one takes it.
func (e *Engine) abandoned(c Claim) bool {
	who, ok := e.store.(Aliver)
	return ok && c.Owner != "" && !who.Alive(c.Owner)
}

// asFound is s for those who look: a loop whose worker is gone is queued.
func (e *Engine) asFound(s State) State {
	switch {
	case s.Status != Running && s.Status != Cancelling || !e.abandoned(s.Claim):
	case s.Status == Running:
		s.Status, s.Phase, s.Why = Queued, "", "the process that ran it is gone"
	default:
		s.Why = "the process that ran it is gone; the next one that works on loops ends it"
	}
	return s
}

// found is asFound for the heads of a list. It asks about each worker once.
type found struct {
	e    *Engine
	gone map[string]bool
}

// status is the one to show.
func (f *found) status(h *Head) Status {
	if h.Status != Running {
		return h.Status
	}
	gone, known := f.gone[h.Claim.Owner]
	if !known {
		gone = f.e.abandoned(h.Claim)
		f.gone[h.Claim.Owner] = gone
	}
	if gone {
		return Queued
	}
	return Running
}

// own returns a copy of h to show.
func (f *found) own(h *Head) Head {
	own := h.own()
	if is := f.status(h); is != h.Status {
		own.Status, own.Phase = is, ""
		if rest, ok := strings.CutPrefix(h.Summary, string(h.ID)+" "+string(h.Status)); ok {
			own.Summary = string(h.ID) + " " + string(is) + rest
		}
	}
	return own
}

// obey carries out what s was just asked when its worker is gone and this process
// works on no loops: a cancel or a pause need no worker that is there for long. What
// the dead one left behind is ended. It returns the newest state; what goes wrong is
// left to the next worker.
func (e *Engine) obey(ctx context.Context, s State) State {
	if s.Intent == (Intent{}) || e.working.Load() > 0 || !e.abandoned(s.Claim) {
		return s
	}
	p := newProcess(ctx)
	defer p.close()
	r, err := newRun(p, e, s)
	if err == nil {
		defer r.ended(nil)
		defer r.unhook()
		e.register(r)
		defer e.deregister(r)
		r.endLeftovers()
		_, err = r.take()
	}
	if err != nil {
		e.opts.Logger.Warn("what a loop was asked for is left to the next worker", "loop", s.ID, "cause", err)
		return s
	}
	return r.state()
}
