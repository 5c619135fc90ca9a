package loops

import (
	"fmt"
	"time"
)

// What follows a start: the next one, a wait, a wish of a client, a cap.

// backOff waits before the start is repeated.
func (s State) backOff(o outcome, now time.Time) State {
	wait := max(o.after, s.Origin.Spec.Retry.delay(s.Attempt))
	s.Feedback = firstOf(s.standing(), o.it.Error)
	s.emit(now, EventFailed, fmt.Sprintf("start %d of iteration %d: %s", s.Attempt, s.Iteration+1, firstWords(o.it.Error)))
	return s.wait("back_off", wait, now)
}

// delay is the back-off before start number done+1 of an iteration.
func (r Retry) delay(done int) time.Duration {
	wait := time.Duration(r.Initial)
	for i := 1; i < done && wait < time.Duration(r.Max); i++ {
		wait *= 2
	}
	return min(wait, time.Duration(r.Max))
}

// onward says what follows when nothing has settled the loop: a wish of a
// person, a cap, a delay, or the next start.
func (s *State) onward(now time.Time) { s.follow(now, now) }

// follow is onward for a loop whose last iteration ended earlier: the delay
// counts from then.
func (s *State) follow(ended, now time.Time) {
	if free := s.Intent == (Intent{}) && s.Origin.Spec.Delay <= 0; free || !s.rests(ended, now) {
		s.begin(now)
	}
}

// rests reports whether a wish of a person, a cap or a delay comes before the
// next start.
func (s *State) rests(ended, now time.Time) bool {
	switch {
	case s.Intent.Cancel != nil:
		*s = s.cancelled(now)
		return true
	case s.Intent.Pause != nil:
		*s = s.pause(*s.Intent.Pause, now)
		return true
	case s.capped(now):
		return true
	}
	d := time.Duration(s.Origin.Spec.Delay) - now.Sub(ended)
	if s.Origin.Spec.Delay <= 0 || d <= 0 || s.Iteration == 0 {
		return false
	}
	s.Pass = s.Ledger.Passes + 1
	*s = s.wait("delay", d, now)
	return true
}

// capped reports whether a limit leaves no room for another start; the loop is
// then settled.
func (s *State) capped(now time.Time) bool {
	reason, detail, hit := s.capHit()
	if hit {
		s.cap(reason, detail, now)
	}
	return hit
}

//go:noinline
func (s *State) cap(reason StopReason, detail string, now time.Time) {
	*s = s.settle(Capped, reason, "limit", detail, now)
}

// begin charges the next start. A client's loop becomes its turn; another one
// runs when a worker holds it and is queued when none does.
func (s *State) begin(now time.Time) {
	if s.capped(now) {
		return
	}
	s.Pass = s.Ledger.Passes + 1
	if s.Claim.Token == "" && s.needsWorker() {
		s.queue()
		return
	}
	s.Ledger.Starts++
	s.Attempt++
	s.Open = true
	s.WakeAt, s.WaitingFor, s.Why = time.Time{}, "", ""
	s.seeSteers(now)
	if s.Origin.Spec.Body.Kind == BodyClient {
		s.yourTurn(now)
		return
	}
	s.Status, s.Phase, s.Attention = Running, PhaseBody, nil
	s.emit(now, EventStarted, s.startedText())
}

func (s *State) startedText() string {
	b := number(make([]byte, 0, 64), "start ", s.Ledger.Starts)
	return string(number(number(b, ": iteration ", s.Iteration+1), ", pass ", s.Pass))
}

// needsWorker reports whether the next step is a process's: a body to run, or
// conditions to ask before the first pass.
func (s *State) needsWorker() bool {
	return s.Origin.Spec.Body.Kind != BodyClient || s.Origin.Spec.until().CheckFirst && !s.Checked
}

// toWorker leaves the loop to whichever process takes it next.
func (s State) toWorker() State {
	s.queue()
	return s
}

// queue is toWorker in place.
func (s *State) queue() {
	s.Status, s.Phase, s.Why, s.WaitingFor = Queued, "", "", ""
	s.Claim, s.WakeAt, s.Attention = Claim{}, time.Time{}, nil
}

// yourTurn hands the brief to the client.
func (s *State) yourTurn(now time.Time) {
	s.Status, s.Phase, s.Claim = YourTurn, "", Claim{}
	s.Attention = &Attention{Kind: AttentionIteration, ID: fmt.Sprintf("it-%d", s.Iteration+1), Since: now}
	s.Attention.Prompt = s.prompt()
	s.WakeAt = s.wake()
	s.emit(now, EventStarted, fmt.Sprintf("start %d: iteration %d, pass %d, handed to the client", s.Ledger.Starts, s.Iteration+1, s.Pass))
	s.emit(now, EventAttention, "your_turn "+s.Attention.ID)
}

func (s *State) seeSteers(now time.Time) {
	if len(s.Steers) == 0 {
		s.Steers = nil
		return
	}
	steers := make([]Steer, len(s.Steers))
	for i, one := range s.Steers {
		if !one.Seen {
			s.emit(now, EventSteerApplied, fmt.Sprintf("start %d has it: %s", s.Ledger.Starts, firstWords(one.Text)))
		}
		steers[i] = Steer{Text: one.Text, Seen: true}
	}
	s.Steers = steers
}

func unseen(steers []Steer) []Steer {
	var left []Steer
	for _, one := range steers {
		if !one.Seen {
			left = append(left, one)
		}
	}
	return left
}
