package kvstate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/loops"
)

// sweepAge is how old something must be to be swept: what is about to be
// referred to by its first record is younger.
const sweepAge = time.Hour

// discard deletes objects of records that a snapshot has replaced. What a crash
// leaves behind is swept later.
func (s *Store) discard(id loops.ID, names []string) {
	if len(names) == 0 {
		return
	}
	s.tasks.Go(func() {
		for _, name := range names {
			if err := s.blobs.remove(s.ctx, string(id)+"/"+name); err != nil {
				s.log.Debug("an object is left to the next sweep", slog.String("loop", string(id)), slog.Any("err", err))
				return
			}
		}
	})
}

// The first sweep of a store of manyLoops comes sweepRest after it was opened:
// until then the processors are for those for whom it was.
const (
	manyLoops = 2000
	sweepRest = 3 * time.Second
)

// keepClean sweeps at once, or soon, and then at intervals until the store is
// closed.
func (s *Store) keepClean() {
	sweep := func() {
		if err := s.sweep(s.ctx); err != nil && s.ctx.Err() == nil {
			s.log.Warn("removing what gone loops left behind was interrupted", slog.Any("err", err))
		}
	}
	if s.projection.holds(manyLoops) {
		sleep(s.ctx, nil, time.Now().Add(sweepRest))
	}
	sweep()
	close(s.swept)
	s.every(s.opts.Sweep, sweep)
}

// sweep removes the objects and request ids of loops that are gone, and what is
// left of records that have been replaced.
func (s *Store) sweep(ctx context.Context) error {
	if err := s.catchUp(ctx); err != nil {
		if errors.Is(err, loops.ErrClosed) {
			return nil
		}
		return err
	}
	floors := s.projection.floors(time.Now())
	pinned := s.projection.pinned()
	return errors.Join(s.sweepReplaced(ctx), s.sweepBlobs(ctx, floors, pinned), s.sweepKept(ctx, floors, pinned), s.sweepRequests(ctx, floors))
}

// sweepReplaced removes records that the last snapshot of a loop has replaced: what
// a process that ended has left. The server forgets that it removed them when it is
// killed twice in a row; when the snapshot of a settled loop had come to the end of
// its retention, they would be what is left of the loop, and it would run again.
func (s *Store) sweepReplaced(ctx context.Context) error {
	stream, err := s.js.Stream(ctx, streamLoops)
	if err != nil {
		return fmt.Errorf("sweep replaced records: %w", err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject(">")))
	if err == nil {
		err = s.catchUp(ctx) // with what the server has counted
	}
	if err != nil {
		return fmt.Errorf("sweep replaced records: %w", err)
	}
	counts := s.projection.needed()
	var replaced []loops.ID
	for key, n := range info.State.Subjects {
		id := loops.ID(strings.TrimPrefix(key, subject("")))
		if gone := s.marks.Ended(string(id)); gone > 0 {
			counts[id] = need{from: gone}
			replaced = append(replaced, id)
		} else if of := counts[id]; of.records > 0 && n > of.records {
			replaced = append(replaced, id)
		}
	}
	slices.SortFunc(replaced, func(a, b loops.ID) int { return cmp.Compare(counts[a].from, counts[b].from) }) // as next
	for _, id := range replaced {
		if err := s.removeReplaced(ctx, stream, id, counts[id]); err != nil {
			return fmt.Errorf("sweep replaced records: %w", err)
		}
	}
	return nil
}

// removeReplaced removes the records of a loop that do not count. One whose last
// snapshot does not verify keeps everything.
func (s *Store) removeReplaced(ctx context.Context, stream jetstream.Stream, id loops.ID, of need) error {
	if of.records > 0 {
		switch r, err := s.recordAt(ctx, id, of.from); {
		case errors.Is(err, loops.ErrDamaged) || err == nil && r.Kind != snapshot:
			return nil
		case err != nil:
			return err
		}
	}
	return s.removeBefore(ctx, stream, id, of.from)
}

// need is which records of a loop count.
type need struct {
	from    uint64 // the last snapshot; of a loop that is gone the one it had
	records uint64 // from there on; of a loop that is gone 0
}

// needed returns what counts of all loops that are not damaged.
func (p *projection) needed() map[loops.ID]need {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[loops.ID]need, len(p.entries))
	for id, e := range p.entries {
		if !e.damage {
			all[id] = need{e.Base, uint64(e.Count) + 1}
		}
	}
	return all
}

// floors returns, for every loop, from which revision on its records count.
func (p *projection) floors(now time.Time) map[loops.ID]uint64 {
	p.scan(now, func(*loops.Head) {}) // forgets what is gone
	p.mu.Lock()
	defer p.mu.Unlock()
	floors := make(map[loops.ID]uint64, len(p.entries))
	for id, e := range p.entries {
		floors[id] = 0 // a damaged loop keeps everything
		if !e.damage {
			floors[id] = e.Floor
		}
	}
	return floors
}

func (s *Store) sweepBlobs(ctx context.Context, floors map[loops.ID]uint64, pinned map[loops.ID]bool) error {
	if _, err := s.js.Stream(ctx, s.blobs.stream.config.Name); err != nil {
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil // there was never a blob
		}
		return fmt.Errorf("sweep the object store: %w", err)
	}
	all, err := s.blobs.list(ctx)
	if err != nil { // one that can't be read: nobody knows what belongs to it
		return fmt.Errorf("sweep the object store: %w", err)
	}
	if err := s.sweepChunks(ctx, all); err != nil {
		return fmt.Errorf("sweep the object store: %w", err)
	}
	for _, o := range all {
		if time.Since(o.ModTime) < sweepAge || needed(o.Name, floors, pinned) {
			continue
		}
		if err := s.blobs.remove(ctx, o.Name); err != nil {
			return fmt.Errorf("sweep the object store: %w", err)
		}
	}
	return nil
}

// sweepChunks removes the chunks of objects whose writing was cut off.
func (s *Store) sweepChunks(ctx context.Context, all []jetstream.ObjectInfo) error {
	stream, err := s.js.Stream(ctx, s.blobs.stream.config.Name)
	if err != nil {
		return err
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(chunkSubjects+">"))
	if err != nil {
		return err
	}
	for _, o := range all {
		delete(info.State.Subjects, chunkSubjects+o.NUID)
	}
	for subject := range info.State.Subjects {
		last, err := stream.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && time.Since(last.Time) < sweepAge {
			continue
		}
		if err == nil {
			err = stream.Purge(ctx, jetstream.WithPurgeSubject(subject))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// needed reports whether an object's loop, and for a part of a record the
// record, is still there. Of a loop that others pin the blobs stay.
func needed(name string, floors map[loops.ID]uint64, pinned map[loops.ID]bool) bool {
	id, what, _ := strings.Cut(name, "/")
	floor, there := floors[loops.ID(id)]
	if isReference(what) {
		return there || pinned[loops.ID(id)]
	}
	if !there {
		return false
	}
	prev, _, _ := strings.Cut(strings.TrimPrefix(what, "r"), "-")
	rev, err := strconv.ParseUint(prev, 10, 64)
	return err != nil || rev >= floor
}

func (s *Store) sweepRequests(ctx context.Context, floors map[loops.ID]uint64) error {
	requests, err := s.js.Stream(ctx, streamRequests)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep the request ids: %w", err)
	}
	gone := map[string]uint64{}
	err = s.batch(ctx, streamRequests, requestSubject(">"), 1, func(m stored) error {
		id, err := readBound(m)
		if _, there := floors[id]; err == nil && !there && time.Since(m.at) >= sweepAge {
			gone[m.subject] = m.seq
		}
		return nil
	})
	for subject, rev := range gone {
		s.marks.Forget(requestMark(subject), rev)
		err = errors.Join(err, requests.Purge(ctx, jetstream.WithPurgeSubject(subject)))
	}
	if err != nil {
		return fmt.Errorf("sweep the request ids: %w", err)
	}
	return nil
}
