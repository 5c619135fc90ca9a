package linear_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"

	"example.com/loop-mcp/loops"
)

// call is a request as a client sends it. Inspect and list change nothing.
type call struct {
	ID        string // of the request, unique; the same again when it was not answered
	Action    loops.Action
	Attention string // submit: the iteration that is handed in
	Max       int    // set_limits
}

const (
	inspect loops.Action = "inspect"
	list    loops.Action = "list"
)

// view is what an answer says of the loop.
type view struct {
	Status     loops.Status
	Iterations int
	Starts     int
	Max        int
	Epoch      uint64
	Steers     int // that no finished iteration had; -1: not told
	Rev        uint64
}

// reply is the answer to a call.
type reply struct {
	View     view
	Refused  string // the code of a refusal
	Reused   bool   // it had happened before
	Already  bool   // there was nothing to cancel
	Problem  string // the store did not answer: as if there were no answer
	Unknown  bool   // there was none
	Happened bool   // there was none, and it happened: see known
}

// state is the loop of the model. It is comparable but for its requests.
type state struct {
	status     loops.Status
	iterations int
	starts     int
	max        int
	epoch      uint64
	unseen     int // guidance that no start has seen
	seen       int
	rev        uint64
	loose      bool   // it is that revision or a later one
	applied    string // requests that may be sent again, " r1 r2 "
}

const maxSteers = 32

// begin hands the next iteration to the client.
func (s state) begin() state {
	if s.starts >= s.max {
		s.status = loops.Capped
		return s
	}
	s.status = loops.YourTurn
	s.starts++
	s.seen, s.unseen = s.seen+s.unseen, 0
	return s
}

// after is what a call makes of the loop; ok is false when it is refused.
func (s state) after(c call) (next state, ok bool) {
	settled := s.status == loops.Capped || s.status == loops.Cancelled
	switch c.Action {
	case loops.SteerIt:
		s.unseen++
		return s, !settled && s.unseen <= maxSteers
	case loops.PauseIt:
		s.status = loops.Paused
		return s, !settled
	case loops.ResumeIt:
		ok = s.status == loops.Paused
		s.status = loops.YourTurn
		return s, ok
	case loops.Submit:
		if s.status != loops.YourTurn || c.Attention != fmt.Sprint("it-", s.iterations+1) {
			return s, false
		}
		s.iterations++
		s.seen = 0
		return s.begin(), true
	case loops.SetLimits:
		if s.status == loops.Cancelled {
			return s, false
		}
		s.max = c.Max
		if s.status == loops.Capped && s.starts < s.max {
			s.epoch++
			return s.begin(), true
		}
		return s, true
	case loops.CancelIt:
		s.status = loops.Cancelled
		return s, !settled
	}
	panic(c.Action)
}

// shows reports whether an answer tells of this state, and pins the revision.
func (s state) shows(v view) (state, bool) {
	if s.loose && v.Rev < s.rev || !s.loose && v.Rev != s.rev {
		return s, false
	}
	s.rev, s.loose = v.Rev, false
	same := v.Status == s.status && v.Iterations == s.iterations && v.Starts == s.starts && v.Max == s.max && v.Epoch == s.epoch
	return s, same && (v.Steers < 0 || v.Steers == s.seen+s.unseen)
}

// step returns what the loop may be after a call with that answer.
func (s state) step(c call, r reply) []state {
	done := strings.Contains(s.applied, " "+c.ID+" ")
	if c.Action == inspect || c.Action == list {
		return states(s.shows(r.View))
	}
	next, allowed := s.after(c)
	switch {
	case r.Unknown && (!allowed || done):
		return []state{s}
	case r.Unknown:
		return []state{s, next.unanswered(c)}
	case r.Happened:
		return states(next.unanswered(c), allowed && !done)
	case r.Refused != "":
		return states(s, !allowed && !done)
	case r.Already:
		if c.Action != loops.CancelIt || allowed || done {
			return nil
		}
		return states(s.shows(r.View))
	case r.Reused:
		if !done {
			return nil
		}
		return states(s.shows(r.View))
	case !allowed || done || r.View.Rev <= s.rev:
		return nil
	}
	next.rev, next.loose = r.View.Rev, false
	return states(next.shows(r.View))
}

// unanswered is s after a call of which nobody knows the revision.
func (s state) unanswered(c call) state {
	s.rev, s.loose = s.rev+1, true
	s.applied += " " + c.ID + " "
	return s
}

func states(s state, ok bool) []state {
	if !ok {
		return nil
	}
	return []state{s}
}

// sequential is the loop as porcupine sees it, from how it was created.
func sequential(created view) porcupine.Model {
	model := porcupine.NondeterministicModel{
		Init: func() []any {
			return []any{state{status: created.Status, starts: created.Starts, max: created.Max, epoch: created.Epoch, rev: created.Rev}}
		},
		Step: func(s, in, out any) (all []any) {
			for _, next := range s.(state).step(in.(call), out.(reply)) {
				all = append(all, next)
			}
			return all
		},
		Equal:             func(a, b any) bool { return a.(state).normal() == b.(state).normal() },
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v → %+v", in, out) },
	}
	return model.ToModel()
}

// normal is s with its requests in an order of their own.
func (s state) normal() state {
	ids := strings.Fields(s.applied)
	slices.Sort(ids)
	s.applied = strings.Join(ids, " ")
	return s
}
