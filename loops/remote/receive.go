package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"example.com/loop-mcp/loops"
	"github.com/nats-io/nats.go"
)

// receive takes in a message of whoever knows the inbox. It never blocks.
func (s *start) receive(m *nats.Msg) {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		s.decline(nobody(s.b.name))
		return
	}
	msg, err := ReadMessage(m.Data)
	if err != nil {
		s.broken(m, err)
		return
	}
	switch refusal := s.admit(msg); {
	case msg.Type == TypeBusy:
		s.decline(fmt.Errorf("all servers of the handler %q are busy%s", s.b.name, because(msg.Text)))
	case refusal != "":
		s.b.c.answer(m, Answer{Gone: true, Error: refusal})
	case msg.Type == TypeAccept:
		s.grant(m)
	case msg.Type == TypeEmit, msg.Type == TypeHeartbeat:
		s.turn.Emit(loops.Live{Text: string(msg.Text), Tool: msg.Tool})
		s.ok(m, Answer{})
	default:
		select {
		case s.work <- m:
		default: // it is sent again
		}
	}
}

func because(text Text) string {
	if text == "" {
		return ""
	}
	return ": " + clip(string(text), 200)
}

// admit says why a message does not count; empty: it does.
func (s *start) admit(m Message) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case m.V != Version:
		return fmt.Sprintf("v must be %d, got %d", Version, m.V)
	case m.Key != s.key:
		return fmt.Sprintf("key: this is start %s, not %s", s.key, clip(m.Key, 120))
	case m.Type == TypeBusy:
		return ""
	case m.By == "":
		return "by is missing"
	case m.Type == TypeAccept && s.by == "":
		s.by, s.control, s.runner = m.By, m.Control, m.Runner
		close(s.taken)
	case s.by == "":
		return "accept comes first"
	case m.By != s.by:
		return "another handler has this start"
	}
	s.heard = time.Now()
	return ""
}

// ok answers a message that counts.
func (s *start) ok(m *nats.Msg, a Answer) {
	s.mu.Lock()
	if e := s.ending; e != nil {
		a.Cancel, a.Reason = e.Cancel, e.Reason
	}
	s.mu.Unlock()
	a.OK = true
	s.b.c.answer(m, a)
}

// grant gives the call to the server that has the start.
func (s *start) grant(m *nats.Msg) {
	s.mu.Lock()
	if s.call == nil {
		c := fit(CallOf(s.b.name, s.turn, time.Now()), s.b.c.nc.MaxPayload())
		s.call = &c
	}
	call := s.call
	s.mu.Unlock()
	s.ok(m, Answer{Call: call})
}

// broken fails the start for a message that can't be read.
func (s *start) broken(m *nats.Msg, cause error) {
	s.b.c.answer(m, Answer{Error: cause.Error()})
	s.mu.Lock()
	mine := s.by != ""
	s.mu.Unlock()
	if mine {
		s.fail(cause)
	}
}

// fail ends the start: its handler does not speak the wire.
func (s *start) fail(cause error) {
	s.say(Control{Cancel: "graceful", Reason: "lost"})
	s.finish(outcome{err: fmt.Errorf("the handler %q sent what it should not: %w", s.b.name, cause)})
}

// finish ends the start. It reports whether it was the first end, which counts.
func (s *start) finish(o outcome) bool {
	s.mu.Lock()
	first := !s.over
	s.over = true
	s.mu.Unlock()
	if first {
		s.done <- o
	}
	return first
}

// handle does what takes time.
func (s *start) handle(ctx context.Context, m *nats.Msg) {
	msg, err := ReadMessage(m.Data)
	if err != nil {
		return // it was read before
	}
	switch msg.Type {
	case TypeFetch:
		s.fetch(m, msg)
	case TypePart:
		if err := s.part(msg); err != nil {
			s.b.c.answer(m, Answer{Error: err.Error()})
			s.fail(err)
			return
		}
		s.ok(m, Answer{})
	case TypeSave:
		s.save(ctx, m, msg)
	case TypeResult:
		if err := s.assemble(&msg); err != nil {
			s.b.c.answer(m, Answer{Error: err.Error()})
			s.fail(err)
			return
		}
		r, err := msg.Result()
		if !s.finish(outcome{result: r, err: s.named(msg, err)}) {
			s.b.c.answer(m, startOver)
			return
		}
		s.counts = true
		s.ok(m, Answer{})
	}
}

// named adds the handler's name to its failure, and keeps the mark.
func (s *start) named(m Message, err error) error {
	if err == nil {
		return nil
	}
	f := *m.Error
	f.Message = Text(fmt.Sprintf("handler %s: %s", s.b.name, f.Message))
	return f.err()
}

func (s *start) save(ctx context.Context, m *nats.Msg, msg Message) {
	err := s.assemble(&msg)
	if err == nil && msg.Memory == nil {
		msg.Memory = Any("null")
	}
	if err == nil {
		err = s.turn.Save(ctx, json.RawMessage(msg.Memory))
	}
	if err != nil {
		s.b.c.answer(m, Answer{Error: err.Error()})
		return
	}
	s.ok(m, Answer{})
}
