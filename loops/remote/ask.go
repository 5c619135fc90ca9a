package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// refusedError is an answer that says no.
type refusedError struct {
	text string
	gone bool
}

func (e *refusedError) Error() string { return e.text }

// insist sends a message until it is answered, for patience at most.
func (w *work) insist(ctx context.Context, m Message, patience time.Duration) (Answer, error) {
	for began := time.Now(); ; {
		a, err := w.ask(ctx, m)
		_, refused := errors.AsType[*refusedError](err)
		if err == nil || refused || time.Since(began) > patience || errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrConnectionClosed) {
			return a, err
		}
		timer := time.NewTimer(tryAgain)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return Answer{}, context.Cause(ctx)
		}
	}
}

// ask sends a message once and waits for its answer, which may end the body.
func (w *work) ask(ctx context.Context, m Message) (Answer, error) {
	m.V, m.Key, m.By = Version, w.offer.Key, w.by
	data, err := encode(m)
	if err != nil {
		return Answer{}, &refusedError{text: err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	sent := time.Now()
	reply, err := w.s.nc.RequestWithContext(ctx, w.to, data)
	if err != nil {
		return Answer{}, fmt.Errorf("%s of start %s: %w", m.Type, w.offer.Key, err)
	}
	var a Answer
	if err := json.Unmarshal(reply.Data, &a); err != nil || a.V != Version {
		return Answer{}, &refusedError{text: fmt.Sprintf("the caller answers what is not of version %d of the wire: %s", Version, clip(string(reply.Data), 100))}
	}
	w.mu.Lock()
	w.answered = sent
	w.mu.Unlock()
	if a.Cancel != "" {
		w.cancel(a.Cancel, a.Reason)
	}
	if !a.OK {
		return a, &refusedError{text: a.Error, gone: a.Gone}
	}
	return a, nil
}
