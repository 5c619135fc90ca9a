package kvstate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/loop-mcp/loops"
)

// A loop that was forked reads the blobs of the loops in Origin.Pins where it has
// none of that name itself. Its head names them, so that the sweep, which sees
// heads alone, keeps what a loop left that is gone as long as another one pins it.

const (
	// maxPins is how many loops a head names. A fork that would pin more gets
	// copies instead, and so begins a new line of forks.
	maxPins = 8
	// pinMargin is how long the original must still be there for a pin to be in
	// the projection of every process before the original's blobs are swept. It is
	// above the time that a request may take.
	pinMargin = 10 * time.Minute
)

// pin returns what a new loop pins of the loops whose blobs it may refer to. What
// it can't rely on to stay is copied.
func (s *Store) pin(ctx context.Context, id loops.ID, pins []loops.ID) ([]loops.ID, error) {
	if len(pins) == 0 {
		return nil, nil
	}
	r, err := s.last(ctx, pins[0])
	if err != nil {
		return nil, fmt.Errorf("pin %s: %w", pins[0], err)
	}
	if lasts := r.Expires == 0 || time.Until(time.Unix(r.Expires, 0)) > pinMargin; lasts && len(pins) <= maxPins {
		return pins, nil
	}
	all, err := s.allBlobs(ctx)
	if err != nil {
		return nil, err
	}
	for _, of := range pins {
		for _, ref := range all[of] {
			if err := s.copyBlob(ctx, of, id, ref); err != nil {
				return nil, fmt.Errorf("copy what %s kept: %w", of, err)
			}
		}
	}
	return nil, nil
}

// copyBlob gives a loop a blob of another one. One that can't be read any more is
// as missing there as here.
func (s *Store) copyBlob(ctx context.Context, from, to loops.ID, ref string) error {
	data, err := s.fetch(ctx, []loops.ID{from}, ref)
	if errors.Is(err, errNoObject) || spoilt(err) || err == nil && reference(data) != ref {
		return nil
	}
	if err == nil {
		err = s.putBlob(ctx, to, ref, data)
	}
	return err
}

// shelves are the loops among whose blobs those of id are found.
func (s *Store) shelves(ctx context.Context, id loops.ID) ([]loops.ID, error) {
	if pins, known := s.projection.pins(id); known {
		return append([]loops.ID{id}, pins...), nil
	}
	r, err := s.last(ctx, id)
	switch {
	case errors.Is(err, loops.ErrNotFound), errors.Is(err, loops.ErrDamaged): // a blob may come before its loop
		return []loops.ID{id}, nil
	case err != nil:
		return nil, err
	}
	return append([]loops.ID{id}, r.Head.Pins...), nil
}

// pins returns what a loop pins, if the loop is known.
func (p *projection) pins(id loops.ID) (pins []loops.ID, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.entries[id]; e != nil {
		return slices.Clone(e.Head.Pins), true
	}
	return nil, false
}

// pinned returns the loops that others pin. Those that are gone are told by the
// call of floors before.
func (p *projection) pinned() map[loops.ID]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[loops.ID]bool{}
	for _, e := range p.entries {
		for _, id := range e.Head.Pins {
			all[id] = true
		}
	}
	return all
}
