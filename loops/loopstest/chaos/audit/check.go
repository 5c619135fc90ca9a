package audit

import (
	"slices"
	"strings"
	"time"
)

var settledStatus = []string{"completed", "capped", "stalled", "blocked", "failed", "cancelled"}

// loop holds all that is known of one loop against each other.
func (a *auditor) loop(l *loop) {
	a.Loops++
	switch {
	case l.forged: // it must stand still, and everybody must see that
		a.Damaged++
		if l.damaged == "" {
			a.wrong("%s was damaged, and went on as if it were whole", l.id)
		} else if l.after > 0 {
			a.wrong("%s was damaged, and %d more records were written", l.id, l.after)
		}
		a.runs(l)
		return
	case l.damaged != "":
		a.wrong("%s: %s", l.id, l.damaged)
		return
	}
	h := l.last.Head
	a.Starts += h.Usage.Starts
	a.Iterations += len(l.iterations)
	a.Settled[h.Status]++
	a.journal(l)
	a.runs(l)
	a.acknowledged(l)
}

// journal: iterations are 1, 2, 3 …, counted as they are listed, events too, and
// there is one end with nothing after it.
func (a *auditor) journal(l *loop) {
	h, state := l.last.Head, l.checkpoint.State
	for i, it := range l.iterations {
		if it.Iteration != i+1 {
			a.wrong("%s: iteration %d stands where %d belongs", l.id, it.Iteration, i+1)
			break
		}
	}
	if n := len(l.iterations); h.Iteration != n || state.Iteration != n || h.Usage.Iterations != n {
		a.wrong("%s: %d iterations are stored; the head counts %d, the ledger %d", l.id, n, h.Iteration, h.Usage.Iterations)
	}
	if h.Usage.Starts > h.Limits.MaxIterations {
		a.wrong("%s: %d starts were charged, the limit is %d", l.id, h.Usage.Starts, h.Limits.MaxIterations)
	}
	if !slices.Contains(settledStatus, h.Status) {
		a.wrong("%s is not finished: it is %s", l.id, h.Status)
		return
	}
	if l.last.Version < secondFormat && h.Status != state.Status || state.Open || state.Stop == nil {
		a.wrong("%s: the head says %s; the state %s, open %v, stop %v", l.id, h.Status, state.Status, state.Open, state.Stop)
	}
	ended, started := false, 0
	for i, e := range l.events {
		if e.Cursor != l.dropped+uint64(i)+1 {
			a.wrong("%s: event %d stands where %d belongs", l.id, e.Cursor, l.dropped+uint64(i)+1)
			return
		}
		switch {
		case e.Type == "settled" && ended:
			a.wrong("%s: event %d settles a settled loop", l.id, e.Cursor)
		case ended && !slices.Contains([]string{"resumed", "limits", "steer", "settled"}, e.Type):
			a.wrong("%s: event %d (%s) after its end, and no request moved it", l.id, e.Cursor, e.Type)
		}
		ended = e.Type == "settled" || ended && e.Type != "resumed"
		if e.Type == "started" {
			started++
		}
	}
	if last := l.dropped + uint64(len(l.events)); !ended || h.Cursor != last {
		a.wrong("%s: its last event is not its end (event %d of %d)", l.id, last, h.Cursor)
	}
	if l.dropped == 0 && started != h.Usage.Starts {
		a.wrong("%s: %d starts are in the journal, %d in the ledger", l.id, started, h.Usage.Starts)
	}
}

// runs holds what bodies did against what was charged and committed.
func (a *auditor) runs(l *loop) {
	begun, ends := map[int]Effect{}, map[int]Effect{}
	newest := Effect{}
	repeated := 0
	for _, e := range l.effects {
		switch e.What {
		case End:
			ends[e.Start] = e
			if e.Exit == 75 {
				repeated++
			}
			continue
		case Begin:
		default:
			continue
		}
		a.Runs++
		if was, twice := begun[e.Start]; twice {
			a.wrong("%s: start %d ran twice, below processes %d and %d", l.id, e.Start, was.Parent, e.Parent)
		}
		excused := a.opts.Leases && a.stopped(e.Parent, e.At-int64(late), e.At)
		if !excused && (e.Start < newest.Start || e.Iteration < newest.Iteration) {
			a.wrong("%s: start %d of iteration %d ran after start %d of iteration %d", l.id, e.Start, e.Iteration, newest.Start, newest.Iteration)
		}
		begun[e.Start], newest = e, e
	}
	if l.forged {
		return
	}
	if a.opts.Leases {
		a.beside(l, begun, ends)
	}
	charged, limit := l.last.Head.Usage.Starts, l.last.Head.Limits.MaxIterations
	if len(begun) > charged {
		a.wrong("%s: its body ran %d times, charged are %d starts", l.id, len(begun), charged)
	}
	if len(begun) > limit || newest.Start > charged {
		a.wrong("%s: its body ran %d times, the last time as start %d; charged are %d, the limit is %d", l.id, len(begun), newest.Start, charged, limit)
	}
	if l.kind() == "command" || len(begun) > 0 {
		a.Cut += charged - len(l.iterations) - repeated
		a.committed(l, begun, ends)
	}
}

// late is how long before its body a worker that was stopped meanwhile may have
// charged the start.
const late = 10 * time.Second

// beside finds bodies of one loop that ran at the same time. Only a worker that
// is stopped can't end its body before another one takes the loop.
func (a *auditor) beside(l *loop, begun, ends map[int]Effect) {
	for n, first := range begun {
		end, ended := ends[n]
		if !ended {
			continue
		}
		for m, second := range begun {
			if m == n || second.At < first.At || second.At > end.At ||
				a.stopped(first.Parent, first.At-int64(late), end.At) || a.stopped(second.Parent, second.At-int64(late), second.At) {
				continue
			}
			a.wrong("%s: start %d below process %d ran beside start %d below process %d, which was not stopped", l.id, m, second.Parent, n, first.Parent)
		}
	}
}

func (l *loop) kind() string {
	if l.checkpoint.Origin == nil {
		return ""
	}
	return l.checkpoint.Origin.Spec.Body.Kind
}

// committed holds each iteration against the run that it came from, and each run
// against the iteration that it should have come to.
func (a *auditor) committed(l *loop, begun, ends map[int]Effect) {
	of := map[string]int{} // the iteration that has a nonce
	for _, e := range ends {
		for _, it := range l.iterations {
			if e.Nonce == "" || !strings.Contains(it.Output.Text+it.Error, e.Nonce) {
				continue
			}
			if first, twice := of[e.Nonce]; twice {
				a.wrong("%s: start %d is committed twice, as iterations %d and %d", l.id, e.Start, first, it.Iteration)
			}
			of[e.Nonce] = it.Iteration
			if it.Iteration != e.Iteration {
				a.wrong("%s: start %d ran for iteration %d and is committed as %d", l.id, e.Start, e.Iteration, it.Iteration)
			}
		}
	}
	if l.kind() == "command" {
		for _, it := range l.iterations {
			if it.OK && !slices.Contains(slices.Collect(mapValues(of)), it.Iteration) {
				a.wrong("%s: iteration %d is committed, and no run of the body came to it", l.id, it.Iteration)
			}
		}
	}
	if a.opts.Leases || slices.ContainsFunc(l.events, func(e Event) bool { return e.Type == "cancel_requested" }) || l.last.Head.Status == "cancelled" {
		return
	}
	for n, b := range begun {
		e, ended := ends[n]
		if !ended {
			e = b
		}
		after, known := a.lived(b.Parent, e.At)
		switch {
		case !known, after < enough, ended && e.Exit == 75:
		case !ended:
			a.wrong("%s: start %d did not come to its end, and process %d lived for another %s", l.id, n, b.Parent, after)
		case of[e.Nonce] == 0:
			a.wrong("%s: start %d came to its end below process %d, which lived for another %s, and is not committed", l.id, n, b.Parent, after)
		}
	}
}

// enough is how long a process may take to commit what a body came to, stopped
// for a while and without a store for a while.
const enough = 20 * time.Second

func mapValues[K comparable, V any](m map[K]V) func(func(V) bool) {
	return func(yield func(V) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// acknowledged: what a client was told is there, and never went back.
func (a *auditor) acknowledged(l *loop) {
	h := l.last.Head
	for i, t := range l.told {
		if t.Op == OpQuarantined {
			a.wrong("%s: process %d shows it as damaged, and it is whole", l.id, t.PID)
			continue
		}
		if t.Failed != "" {
			continue
		}
		if t.Iteration > h.Iteration || t.Starts > h.Usage.Starts || t.Epoch > h.Epoch || t.Cursor > h.Cursor {
			a.wrong("%s: a client was told %+v, the store has iteration %d, %d starts, epoch %d, event %d", l.id, t.Snapshot, h.Iteration, h.Usage.Starts, h.Epoch, h.Cursor)
		}
		for _, was := range l.told[:i] {
			if was.Failed == "" && was.At < t.Asked && (t.Iteration < was.Iteration || t.Starts < was.Starts || t.Epoch < was.Epoch || t.Cursor < was.Cursor) {
				a.wrong("%s: a client was told %+v and later %+v", l.id, was.Snapshot, t.Snapshot)
				break
			}
		}
		switch t.Op {
		case OpSubmit:
			if n := l.outputs(t.Nonce); n != 1 {
				a.wrong("%s: the submission %s was acknowledged and is in %d iterations", l.id, t.Nonce, n)
			}
		case OpSteer:
			if n := l.steers(t.Nonce); n != 1 && l.dropped == 0 {
				a.wrong("%s: the steer %s was acknowledged and is in %d events", l.id, t.Nonce, n)
			}
		case OpCancel:
			if !t.Settled && h.Status != "cancelled" {
				a.wrong("%s: a cancel was acknowledged, and it is %s", l.id, h.Status)
			}
		}
	}
	for _, t := range l.told { // also those without an answer: at most once
		if t.Op == OpSubmit && l.outputs(t.Nonce) > 1 || t.Op == OpSteer && l.steers(t.Nonce) > 1 {
			a.wrong("%s: %s %s was carried out more than once", l.id, t.Op, t.Nonce)
		}
	}
}

func (l *loop) outputs(nonce string) (n int) {
	for _, it := range l.iterations {
		if strings.Contains(it.Output.Text, nonce) {
			n++
		}
	}
	return n
}

func (l *loop) steers(nonce string) (n int) {
	for _, e := range l.events {
		if e.Type == "steer" && strings.Contains(e.Text, nonce) {
			n++
		}
	}
	return n
}
