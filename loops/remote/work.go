package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/loop-mcp/loops"
	"github.com/nats-io/nats.go"
)

const (
	tryFor       = time.Second            // one request of a handler
	tryAgain     = 100 * time.Millisecond // after one that failed at once
	emitEvery    = 50 * time.Millisecond  // between two messages of live text
	maxLive      = 8 << 10                // bytes of live text in a message; more is left out
	abandonAfter = 5 * time.Second        // a body may ignore the end of its context
	lastWords    = 15 * time.Second       // for a result that nobody answers
)

// work is the server's side of one start.
type work struct {
	s      *server
	offer  Offer
	to     string // the caller's inbox
	by     string
	ctx    context.Context // ends when the body is to end
	end    context.CancelCauseFunc
	begun  atomic.Bool        // it has the call
	rested chan struct{}      // closed when the body has ended
	nudge  chan chan struct{} // asks for a heartbeat now

	mu       sync.Mutex
	answered time.Time // when what was last answered was sent

	live  sync.Mutex
	text  strings.Builder
	tool  string
	lost  int
	ready chan struct{} // has room for one
}

// do takes the start and does it.
func (w *work) do() {
	call, err := w.accept()
	if err != nil {
		w.s.opts.Logger.Debug("a start was not taken", "handler", w.s.name, "start", w.offer.Key, "cause", err)
		return
	}
	if w.s.opts.OnStart != nil {
		w.s.opts.OnStart(call)
	}
	w.ready = make(chan struct{}, 1)
	w.begun.Store(true)
	var aside sync.WaitGroup
	over, stop := context.WithCancel(context.WithoutCancel(w.ctx))
	aside.Go(func() { w.beat(over) })
	aside.Go(func() { w.speak(over) })
	result, err := w.run(call)
	close(w.rested)
	if sent := w.report(result, err); sent != nil {
		w.s.opts.Logger.Warn("the result of a start was not delivered", "handler", w.s.name, "start", w.offer.Key, "cause", sent)
	}
	stop()
	aside.Wait()
	if w.s.opts.OnEnd != nil {
		w.s.opts.OnEnd(call, err)
	}
}

// accept asks for the call, and for what is too large to be in it.
func (w *work) accept() (Call, error) {
	a, err := w.insist(w.ctx, Message{Type: TypeAccept, Control: w.s.inbox + "." + w.by, Runner: w.s.opts.Runner}, fenceAfter)
	if err != nil {
		return Call{}, err
	}
	if a.Call == nil || a.Call.Key != w.offer.Key {
		return Call{}, fmt.Errorf("the answer to accept has no call of start %s", w.offer.Key)
	}
	call := *a.Call
	for field, size := range call.Large {
		text, err := w.fetch(field, size)
		if err == nil && !call.set(field, text) {
			err = fmt.Errorf("the call has a field %q that this server does not know", clip(field, 40))
		}
		if err != nil {
			err = fmt.Errorf("get the call: %w", err)
			return Call{}, errors.Join(err, w.report(loops.Result{}, err))
		}
	}
	call.Large = nil
	return call, nil
}

func (w *work) fetch(field string, size int) (string, error) {
	var b strings.Builder
	for b.Len() < size {
		a, err := w.insist(w.ctx, Message{Type: TypeFetch, Field: field, Offset: b.Len()}, fenceAfter)
		if err != nil {
			return "", err
		}
		if a.Text == "" {
			return "", fmt.Errorf("%s ends after %d of %d bytes", field, b.Len(), size)
		}
		b.WriteString(string(a.Text))
	}
	return b.String(), nil
}

// run runs the body and does not wait for ever for one that ignores its context.
func (w *work) run(call Call) (loops.Result, error) {
	t := call.turn()
	t.Save, t.Emit = w.save, w.emit
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			if p := recover(); p != nil {
				o.err = fmt.Errorf("the handler panicked: %v\n%s", p, clip(string(debug.Stack()), 4<<10))
			}
			done <- o
		}()
		o.result, o.err = w.s.body.Run(w.ctx, t)
	}()
	var o outcome
	select {
	case o = <-done:
	case <-w.ctx.Done():
		late := time.NewTimer(abandonAfter)
		defer late.Stop()
		select {
		case o = <-done:
		case <-late.C:
			o.err = fmt.Errorf("the handler did not stop within %s after it was told to", abandonAfter)
		}
		if cause := context.Cause(w.ctx); o.err != nil && errors.Is(cause, loops.ErrShutdown) {
			o.err = loops.CutOff(fmt.Errorf("the server of the handler is ending: %w", o.err))
		}
	}
	return o.result, o.err
}

// report sends the result until the caller has it.
func (w *work) report(r loops.Result, failed error) error {
	m := resultMessage(r, failed)
	if len(m.Output) > loops.MaxOutputSize || len(m.Memory) > loops.MaxMemorySize {
		m = resultMessage(loops.Result{Usage: r.Usage}, fmt.Errorf("the result is too large: output %d bytes of %d, memory %d of %d", len(r.Output), loops.MaxOutputSize, len(r.Memory), loops.MaxMemorySize))
	}
	ctx := context.WithoutCancel(w.ctx)
	if err := w.divide(ctx, &m); err != nil {
		return err
	}
	_, err := w.insist(ctx, m, lastWords)
	if refused, ok := errors.AsType[*refusedError](err); ok && !refused.gone {
		// It can't be read; the caller has failed the start for it.
		return fmt.Errorf("the caller refused it: %w", err)
	}
	return err
}

// divide sends in pieces what does not fit into a message.
func (w *work) divide(ctx context.Context, m *Message) error {
	for _, field := range []string{"output", "memory"} {
		data, err := encode(m)
		if err != nil {
			return err
		}
		text := string(m.Output)
		if field == "memory" {
			text = string(m.Memory)
		}
		if len(data) <= roomIn(w.s.nc.MaxPayload()) || text == "" {
			continue
		}
		for at := 0; at < len(text); {
			p := piece(text[at:], pieceIn(w.s.nc.MaxPayload()))
			if _, err := w.insist(ctx, Message{Type: TypePart, Field: field, Offset: at, Text: Text(p)}, lastWords); err != nil {
				return err
			}
			at += len(p)
		}
		if m.Parts == nil {
			m.Parts = map[string]int{}
		}
		m.Parts[field] = len(text)
		if field == "memory" {
			m.Memory = nil
		} else {
			m.Output = ""
		}
	}
	return nil
}

// save implements Turn.Save.
func (w *work) save(ctx context.Context, memory json.RawMessage) error {
	if memory == nil {
		memory = json.RawMessage("null")
	}
	if len(memory) > loops.MaxMemorySize {
		return wrong("memory", "is %d bytes, at most %d are allowed", len(memory), loops.MaxMemorySize)
	}
	if !loops.ValidJSON(memory) {
		return wrong("memory", "is not JSON")
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	m := Message{Type: TypeSave, Memory: Any(memory)}
	if err := w.divide(ctx, &m); err != nil {
		return err
	}
	_, err := w.insist(ctx, m, lastWords)
	return err
}

// cancel ends the body.
func (w *work) cancel(mode, reason string) { w.end(causeOf(mode, reason)) }

// check asks the caller whether the start is still wanted, and returns when it
// is, or when it has ended.
func (w *work) check() {
	if !w.begun.Load() {
		return
	}
	done := make(chan struct{})
	select {
	case w.nudge <- done:
	case <-w.ctx.Done():
	}
	select {
	case <-done:
	case <-w.ctx.Done():
	}
	if w.ctx.Err() == nil {
		return
	}
	over := time.NewTimer(endPatience)
	defer over.Stop()
	select {
	case <-w.rested:
	case <-over.C:
	}
}

// beat sends heartbeats until ctx ends, and ends the body when they are not
// answered any more.
func (w *work) beat(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	again := time.NewTicker(lookEvery) // after one that was not answered
	defer again.Stop()
	failing, missing := false, 0
	for {
		var asked chan struct{}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-again.C:
			if !failing {
				continue
			}
		case asked = <-w.nudge:
		}
		sent := time.Now()
		_, err := w.ask(ctx, Message{Type: TypeHeartbeat})
		if asked != nil && errors.Is(err, nats.ErrNoResponders) { // it may be about to come back
			time.Sleep(2 * tryAgain)
			_, err = w.ask(ctx, Message{Type: TypeHeartbeat})
		}
		refused, isRefusal := errors.AsType[*refusedError](err)
		failing = err != nil && !isRefusal
		dead := failing && w.s.opts.Alive != nil && w.offer.Runner != "" && !w.s.opts.Alive(w.offer.Runner)
		if missing++; !dead {
			missing = 0
		}
		switch {
		case ctx.Err() != nil:
		case isRefusal && refused.gone, missing >= lookedTwice, asked != nil && errors.Is(err, nats.ErrNoResponders):
			w.end(errGone)
		case failing && sent.Sub(w.heard()) > fenceAfter:
			w.end(errFenced)
		}
		if asked != nil {
			close(asked)
		}
	}
}

func (w *work) heard() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.answered
}
