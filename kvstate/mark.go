package kvstate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"

	"example.com/loop-mcp/kvstate/mark"
	"example.com/loop-mcp/loops"
)

// The keys of marks: a loop's is its id, the others have a slash in them.
func recordMark(key string) string      { return "data/" + key }
func requestMark(subject string) string { return "request/" + subject }
func keptMark(id loops.ID) string       { return "kept/" + string(id) }

// openMarks reads the high-water mark if there is to be one.
func (s *Store) openMarks() (err error) {
	if s.opts.Mark == "" {
		return nil
	}
	s.marks, err = mark.Open(mark.Options{Dir: s.opts.Mark, Writer: s.opts.Runner, Alive: s.alive, There: s.there, Logger: s.log})
	return err
}

// setBackError says that a store stands before what it acknowledged.
type setBackError struct {
	now  uint64 // 0: there is nothing
	mark uint64
}

func (e *setBackError) Error() string {
	if e.now == 0 {
		return fmt.Sprintf("all its records are missing: revision %d was acknowledged", e.mark)
	}
	return fmt.Sprintf("records are missing: the newest is revision %d, and revision %d was acknowledged", e.now, e.mark)
}

// acknowledged returns the newest revision of a key that was acknowledged, as
// far as it is known, to be asked for before the key is read; 0: none.
func (s *Store) acknowledged(key string) uint64 {
	m, _ := s.marks.Of(key)
	return m.Rev
}

// notBehind returns an error unless a loop's newest record, which is at revision
// now, is as new as its mark was before the record was read. 0: there is none.
func notBehind(id loops.ID, now, mark uint64) error {
	if now >= mark {
		return nil
	}
	return damaged(id, now, &setBackError{now, mark})
}

// checkNew returns an error when the id of a loop that is about to be created is
// one that was lost.
func (s *Store) checkNew(ctx context.Context, id loops.ID) error {
	if s.acknowledged(string(id)) == 0 {
		return nil
	}
	if _, err := s.last(ctx, id); !errors.Is(err, loops.ErrNotFound) {
		return err // nil: the server says that it exists
	}
	return nil
}

// compare quarantines the loops that the store has set back, and begins marks
// for those that have none. It is called once, when the store has been read as
// it was after the marks were.
func (s *Store) compare(ctx context.Context, marks map[string]mark.Mark) error {
	if s.marks == nil {
		return nil
	}
	behind, seeds := s.projection.compare(marks)
	if len(behind) > 0 {
		still := s.marks.All() // what was removed on purpose is not among them
		maps.DeleteFunc(behind, func(id loops.ID, _ mark.Mark) bool { _, ok := still[string(id)]; return !ok })
	}
	lost, err := s.lost(ctx, behind)
	if err != nil {
		return err
	}
	if !s.marks.Found() && len(seeds) > 0 && !s.opts.ReadOnly {
		s.log.Warn("the store had no high-water mark: records that were lost before now stay unnoticed; from now on they do not",
			slog.Int("loops", len(seeds)), slog.String("marks", s.opts.Mark))
	}
	if !s.opts.ReadOnly {
		s.marks.Seed(seeds)
	}
	if len(lost) == 0 {
		return nil
	}
	info, err := s.js.Stream(ctx, streamLoops)
	if err != nil {
		return err
	}
	newest := uint64(0)
	for _, m := range lost {
		newest = max(newest, m.Rev)
	}
	s.log.Error("the store has lost records that it acknowledged: the loops that stand before them are quarantined. If an older copy of the store was put back on purpose, remove the folder of the marks",
		slog.Int("loops", len(lost)), slog.Uint64("stored", info.CachedInfo().State.LastSeq), slog.Uint64("acknowledged", newest), slog.String("marks", s.opts.Mark))
	return nil
}

// lost quarantines those loops behind their marks whose stored records are, too,
// and returns them. Each is asked for: a snapshot that is written while the heads
// are read takes away the record that was about to be read, and comes after all of
// them.
func (s *Store) lost(ctx context.Context, behind map[loops.ID]mark.Mark) (map[loops.ID]mark.Mark, error) {
	lost := map[loops.ID]mark.Mark{}
	for id, m := range behind {
		newest, err := s.direct(ctx, streamLoops, getRequest{LastFor: subject(id)})
		switch {
		case err != nil && !errors.Is(err, errNoRecord):
			return nil, err
		case err == nil && newest.seq >= m.Rev && !marker(newest.header):
			if s.projection.revision(id) > 0 {
				continue // it is on its way
			}
			s.projection.received(id, newest.seq, newest.header.Get(headHeader), newest.at)
			continue
		}
		lost[id] = m
		s.projection.setBack(id, &setBackError{newest.seq, m.Rev})
	}
	return lost, nil
}

// revision is the newest one of a loop that is known; 0: none.
func (p *projection) revision(id loops.ID) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.entries[id]; e != nil {
		return e.rev
	}
	return 0
}

// setBack quarantines a loop whose stored records end before its mark.
func (p *projection) setBack(id loops.ID, err *setBackError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rev, old := err.mark, p.entries[id]
	if old != nil {
		rev = max(rev, old.rev)
	}
	p.put(broken(id, rev, time.Now(), old, err))
}

// compare returns the marks of loops that the projection does not have as new as
// they are, and marks for the loops that have none, or an older one.
func (p *projection) compare(marks map[string]mark.Mark) (behind map[loops.ID]mark.Mark, ahead map[string]mark.Mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	behind, ahead = map[loops.ID]mark.Mark{}, map[string]mark.Mark{}
	same := 0
	for key, m := range marks {
		e := p.entries[loops.ID(key)]
		switch id := loops.ID(key); {
		case e != nil && e.rev == m.Rev:
			same++
		case (e == nil || e.rev < m.Rev) && !strings.Contains(key, "/") && valid(id):
			behind[id] = m
		}
	}
	if same == len(p.entries) {
		return behind, ahead
	}
	for id, e := range p.entries {
		if !e.damage && e.rev > marks[string(id)].Rev {
			ahead[string(id)] = mark.Mark{Rev: e.rev, Expires: e.Expires}
		}
	}
	return behind, ahead
}
