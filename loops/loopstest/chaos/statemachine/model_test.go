package statemachine_test

import "example.com/loop-mcp/loops"

// model is what counts of a loop. It is comparable.
type model struct {
	Status     loops.Status
	Starts     int // charged
	Iterations int
	Passes     int
	Failures   int // in a row
	Attempt    int // starts of the iteration under way
	Epoch      uint64
	Max        int   // max_iterations
	Tokens     int64 // never fewer
	Token      string
	Owner      string
	Open       bool // a start is under way or was cut off
	Owed       bool // a judgement is
	Cancel     bool // asked for
	Pause      bool // asked for
}

const (
	maxFailures = 3
	maxAttempts = 3
)

func modelOf(s loops.State) model {
	return model{
		Status: s.Status, Starts: s.Ledger.Starts, Iterations: s.Iteration, Passes: s.Ledger.Passes, Failures: s.Ledger.Failures, Attempt: s.Attempt,
		Epoch: s.Epoch, Max: int(s.Limits.MaxIterations), Tokens: s.Ledger.TotalTokens, Token: s.Claim.Token, Owner: s.Claim.Owner,
		Open: s.Open, Owed: s.Owed != nil, Cancel: s.Intent.Cancel != nil, Pause: s.Intent.Pause != nil,
	}
}

func (m model) settled() bool { return m.Status.Settled() }

func (m model) settle(status loops.Status) model {
	m.Status, m.Token, m.Owner, m.Open, m.Cancel, m.Pause, m.Attempt = status, "", "", false, false, false, 0
	m.Owed = m.Owed && status != loops.Completed && status != loops.Cancelled
	return m
}

// rest leaves the loop to nobody.
func (m model) rest(status loops.Status) model {
	m.Status, m.Token, m.Owner = status, "", ""
	if m.Pause {
		m.Status, m.Pause = loops.Paused, false
	}
	return m
}

// begin charges the next start, or leaves that to a worker when none has the loop.
func (m model) begin() model {
	switch {
	case m.Starts >= m.Max:
		return m.settle(loops.Capped)
	case m.Token == "":
		m.Status = loops.Queued
		return m
	}
	m.Status, m.Open = loops.Running, true
	m.Starts++
	m.Attempt++
	return m
}

func (m model) onward() model {
	switch {
	case m.Cancel:
		return m.settle(loops.Cancelled)
	case m.Pause:
		return m.rest(loops.Paused)
	}
	return m.begin()
}

// claims is what a worker may make of a loop that is free. It may not take one
// whose worker lives.
func (m model) claims(owner, token string, free bool) []model {
	switch {
	case m.settled() || m.Status == loops.Paused || !free:
		return nil
	case m.Cancel:
		return []model{m.settle(loops.Cancelled)}
	case m.Pause:
		return []model{m.rest(loops.Paused)}
	}
	crashed := m.Open
	m.Owner, m.Token = owner, token
	if m.Owed {
		m.Status = loops.Running
		return []model{m}
	}
	if crashed { // a crash is not the body's fault
		m.Open, m.Attempt = false, max(0, m.Attempt-1)
	}
	return []model{m.begin()}
}

// result is how a body ended.
type result string

const (
	more      result = "more"
	done      result = "done"
	fails     result = "fails"
	transient result = "transient"
	permanent result = "permanent"
	cut       result = "cut" // by the end of its context
)

// ends is what a worker that has the loop may make of the end of its body.
func (m model) ends(r result) []model {
	if !m.Open || m.Token == "" {
		return nil
	}
	m.Tokens++
	if r == cut {
		if m.Cancel {
			return []model{m.settle(loops.Cancelled)}
		}
		return []model{m.rest(loops.Queued)}
	}
	m.Open = false
	if r == transient && m.Starts < m.Max && !m.Cancel && m.Attempt < maxAttempts {
		return []model{m.rest(loops.Waiting)}
	}
	m.Iterations++
	m.Attempt = 0
	if r == more || r == done {
		m.Failures = 0
	} else {
		m.Failures++
	}
	switch {
	case m.Cancel:
		return []model{m.settle(loops.Cancelled)}
	case r == permanent, m.Failures >= maxFailures:
		return []model{m.settle(loops.Failed)}
	case r == done: // judged in the same commit, unless the process stops
		owed := m
		owed.Owed, owed.Status = true, loops.Running
		if m.Pause {
			owed = owed.rest(loops.Paused)
		}
		return append(owed.judged(), owed)
	}
	return []model{m.onward()}
}

// judged is what becomes of a judgement that is owed.
func (m model) judged() []model {
	if !m.Owed {
		return nil
	}
	if m.Cancel {
		return []model{m.settle(loops.Cancelled)}
	}
	met := m
	met.Owed = false
	met.Passes++
	return []model{met.settle(loops.Completed), m.rest(loops.Queued)}
}

// letGo is what a worker may make of a start that it never ran: its claim arrived
// when it had given it up.
func (m model) letGo() []model {
	switch {
	case !m.Open:
		return nil
	case m.Cancel:
		return []model{m.settle(loops.Cancelled)}
	}
	return []model{m.rest(loops.Queued)}
}

// late is what a worker may write that has lost the loop: what it spent.
func (m model) late() model { m.Tokens++; return m }

// asked is what a request makes of the loop; ok is false when it is refused.
func (m model) asked(r loops.Request) (after model, ok bool) {
	full := m.Starts >= m.Max && !m.Owed
	switch r.Action {
	case loops.CancelIt:
		if m.settled() {
			return m, false // already
		}
		if m.Cancel = true; m.Token == "" {
			return m.settle(loops.Cancelled), true
		}
		m.Status = loops.Cancelling
		return m, true
	case loops.PauseIt:
		if m.settled() || m.Status == loops.Cancelling {
			return m, false
		}
		if m.Pause = true; m.Token == "" {
			return m.rest(loops.Paused), true
		}
		return m, true
	case loops.ResumeIt:
		return m.resumed(full)
	case loops.SteerIt:
		if m.Status == loops.Failed && !full {
			return m.move(), true
		}
		return m, !m.settled() && m.Status != loops.Cancelling
	case loops.SetLimits:
		if m.Status == loops.Completed || m.Status == loops.Cancelled {
			return m, false
		}
		m.Max = int(r.Limits.MaxIterations)
		if m.Status == loops.Capped && (m.Starts < m.Max || m.Owed) {
			return m.move(), true
		}
		return m, true
	case loops.Reopen:
		return m.move(), m.Status == loops.Completed
	}
	panic(r.Action)
}

func (m model) resumed(full bool) (model, bool) {
	switch m.Status {
	case loops.Paused, loops.Waiting:
		if m.Owed || m.Open {
			m.Status = loops.Queued
			return m, true
		}
		return m.begin(), true
	case loops.Failed, loops.Capped:
		return m.move(), !full
	}
	return m, false
}

// move starts a new epoch of a settled loop.
func (m model) move() model {
	m.Epoch++
	m.Failures = 0
	if m.Owed {
		m.Status = loops.Queued
		return m
	}
	return m.begin()
}
