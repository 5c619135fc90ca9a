package loops

import (
	"context"
	"errors"
	"strings"
	"time"
)

// A store that takes nothing (ErrUnwritable: a full disk) fails no loop: what a
// worker has to store waits until there is room, without being charged to the
// loop again. Requests are refused at once, with the store's reason.

// fullWait is how long a store that has no room is left alone at most.
const fullWait = 500 * time.Millisecond

// untilRoom calls do until the store takes what it writes, or ctx ends.
func untilRoom(ctx context.Context, do func() error) error {
	for {
		err := do()
		if !errors.Is(err, ErrUnwritable) || !sleep(ctx, fullWait) {
			return err
		}
	}
}

// keep is Turn.Keep of a loop.
func (e *Engine) keep(ctx context.Context, id ID, data []byte) (ref string, err error) {
	err = untilRoom(ctx, func() error {
		ref, err = e.store.PutBlob(ctx, id, data)
		return err
	})
	return ref, err
}

// why adds to the reason for where a live loop is what its record can't say.
func (e *Engine) why(s State) string {
	reasons := []string{s.Why}
	if s.Status == Queued {
		reasons = append(reasons, e.whyQueued(s))
	}
	if e.opts.Trouble != nil {
		if err := e.opts.Trouble(); err != nil {
			reasons = []string{oneLine(err.Error()), "finished work waits in its process and is stored then"}
		}
	}
	var said []string
	for _, reason := range reasons {
		if reason != "" {
			said = append(said, reason)
		}
	}
	return strings.Join(said, "; ")
}
