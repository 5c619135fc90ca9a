package loops

import (
	"encoding/json"
	"fmt"
)

// What a loop was like after an earlier iteration, read from its journal.

// iteration returns the record of iteration n.
func (l Loop) iteration(n int) (Iteration, bool) {
	if len(l.Iterations) == 0 {
		return Iteration{}, false
	}
	if at := n - l.Iterations[0].Iteration; at >= 0 && at < len(l.Iterations) {
		return l.Iterations[at], true
	}
	return Iteration{}, false
}

// MemoryAt is what the body kept after iteration n: of that one or an earlier one.
func (l Loop) MemoryAt(n int) json.RawMessage {
	memory := l.Origin.base().Memory
	for _, it := range l.Iterations {
		if it.Iteration > n {
			break
		}
		if it.Memory != nil {
			memory = it.Memory
		}
	}
	return memory
}

// at is the loop's checkpoint after iteration n as far as the next start depends
// on it: output and score, the best one, memory, verdict and feedback. 0 is the
// loop as it began. The ledger counts iterations and passes alone.
func (l Loop) at(n int) (State, error) {
	first := l.Iteration - len(l.Iterations) + 1
	switch {
	case n > l.Iteration && l.Iteration == 0:
		return State{}, &FieldError{Field: "iteration", Problem: fmt.Sprintf("%s has no iteration %d: none is committed yet", l.ID, n)}
	case n > l.Iteration || n < 0:
		return State{}, &FieldError{Field: "iteration", Problem: fmt.Sprintf("%s has the iterations %d to %d, got %d", l.ID, min(first, l.Iteration), l.Iteration, n)}
	case n < first-1:
		return State{}, &FieldError{Field: "iteration", Problem: fmt.Sprintf("the journal of %s begins with iteration %d, got %d: what was before is not kept", l.ID, first, n)}
	}
	s := unborn(l.ID, l.Origin)
	for _, it := range l.Iterations {
		if it.Iteration > n {
			break
		}
		s = s.replayed(it)
	}
	return s, nil
}

// base is what the loop began with.
func (o Origin) base() Base {
	if o.Base == nil {
		return Base{}
	}
	return *o.Base
}

// replayed is s after one more iteration: what record and endPass do, without
// asking anybody.
func (s State) replayed(it Iteration) State {
	s.Iteration, s.Ledger.Iterations = it.Iteration, s.Ledger.Iterations+1
	s.Pass, s.Epoch = it.Pass, it.Epoch
	if it.Memory != nil {
		s.Memory = it.Memory
	}
	s.Feedback = s.standing()
	if it.OK {
		s.Output, s.Score = it.Output, it.Score
		if it.Score != nil && (s.Best == nil || *it.Score > s.Best.Score) {
			s.Best = &Best{Iteration: it.Iteration, Score: *it.Score, Output: it.Output}
		}
	} else {
		s.Feedback = paragraphs(it.Error, s.Feedback)
	}
	if v := it.Verdict; v != nil {
		s.Verdict, s.Ledger.Passes = v, s.Ledger.Passes+1
		s.Feedback = s.standing()
		if v.Kind == "protect" {
			s.Feedback = v.Feedback
		}
	}
	return s
}
