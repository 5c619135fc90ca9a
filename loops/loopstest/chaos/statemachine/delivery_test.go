package statemachine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"example.com/loop-mcp/loops"
)

// pick chooses a message under way.
func (m *machine) pick() *message {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if len(m.w.wire) == 0 {
		m.Skip("nothing is under way")
	}
	return m.w.wire[rapid.IntRange(0, len(m.w.wire)-1).Draw(m.T, "message")]
}

// take takes a message off the wire.
func (m *machine) take(msg *message) *message {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.w.wire = slices.DeleteFunc(m.w.wire, func(other *message) bool { return other == msg })
	return msg
}

func (m *machine) deliver(msg *message) {
	m.take(msg)
	msg.answer(m.land(msg))
}

func (m *machine) deliverTwice(msg *message) {
	m.take(msg)
	s, err := m.land(msg)
	if _, again := m.land(msg); !errors.Is(again, loops.ErrConflict) {
		m.Fatalf("%s was taken twice: %v", msg, again)
	}
	msg.answer(s, err)
}

// lose loses a message on the way there.
func (m *machine) lose(msg *message) {
	m.seen["lost"]++
	m.take(msg).answer(loops.State{}, errUnanswered)
}

// giveUp has the sender of a message be told that there is no answer, and the
// message arrive later.
func (m *machine) giveUp(msg *message) {
	msg.answer(loops.State{}, errUnanswered)
}

func (m *machine) loseAnswer(msg *message) {
	m.take(msg)
	if _, err := m.land(msg); err == nil {
		m.seen["answer lost"]++
	}
	msg.answer(loops.State{}, errUnanswered)
}

// land gives a message to the store and holds what it did against the model.
func (m *machine) land(msg *message) (loops.State, error) {
	before, err := m.w.store.Load(context.Background(), m.w.id)
	if err != nil {
		m.Fatal(err)
	}
	after, err := m.w.store.Commit(context.Background(), msg.state)
	if err != nil {
		m.seen["refused"]++
		return after, err
	}
	m.seen["delivered"]++
	if msg.reply == nil {
		m.seen["late"]++
	}
	was, is := modelOf(before), modelOf(after)
	m.Logf("%s: %+v", msg, is)
	allowed := m.allowed(msg, was, is.Token)
	if !slices.Contains(allowed, is) {
		m.Fatalf("%s made of\n%+v\nthis:\n%+v\nThe model allows:\n%s", msg, was, is, lines(allowed))
	}
	m.count(msg, was, is)
	if is.Tokens < was.Tokens || is.Starts < was.Starts || is.Iterations < was.Iterations {
		m.Fatalf("the ledger went down: %+v after %+v", is, was)
	}
	return after, nil
}

func (m *machine) count(msg *message, was, is model) {
	m.seen[string(is.Status)]++
	if is.Epoch > was.Epoch {
		m.seen["another epoch"]++
	}
	if was.Open && is.Starts > was.Starts && is.Iterations == was.Iterations {
		m.seen["repeated start"]++
	}
	if is == was.late() {
		m.seen["late spending"]++
	}
	if msg.from.is(&msg.from.lost) && is.Owner == msg.from.name {
		m.seen["lost lease"]++
	}
}

func lines(all []model) string {
	var b strings.Builder
	for _, one := range all {
		fmt.Fprintf(&b, "%+v\n", one)
	}
	return b.String()
}

// allowed is what the model makes of a message.
func (m *machine) allowed(msg *message, was model, token string) (all []model) {
	if msg.from == m.client {
		for _, r := range requests(was) {
			if after, ok := was.asked(r); ok {
				all = append(all, after)
			}
		}
		if was.Cancel || was.Pause { // asked for, and nobody is there to do it
			all = append(all, was.claims(msg.from.name, token, m.gone(was.Owner))...)
		}
		return all
	}
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	free := was.Token == "" || m.gone(was.Owner)
	all = was.claims(msg.from.name, token, free)
	if was.Owner == msg.from.name {
		if how, ended := m.w.ended[was.Starts]; ended && m.w.started[was.Starts] == msg.from.name {
			all = append(all, was.ends(how)...)
		}
		all = append(all, was.judged()...)
		all = append(all, was.letGo()...)
	}
	for n := range m.w.ended {
		if m.w.started[n] == msg.from.name && (n < was.Starts || was.Owner != msg.from.name) {
			all = append(all, was.late())
		}
	}
	return all
}

// requests are those that the client makes, with every limit that it may set.
func requests(was model) []loops.Request {
	all := []loops.Request{{Action: loops.CancelIt}, {Action: loops.PauseIt}, {Action: loops.ResumeIt}, {Action: loops.SteerIt}, {Action: loops.Reopen}}
	for n := 1; n <= 20; n++ {
		all = append(all, loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxIterations: loops.Count(n)}})
	}
	return all
}

// gone reports whether a process has ended or is taken for dead.
func (m *machine) gone(name string) bool {
	for _, p := range m.processes {
		if p.name == name && !p.is(&p.dead) && !p.is(&p.lost) {
			return false
		}
	}
	return true
}
