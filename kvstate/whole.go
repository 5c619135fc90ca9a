package kvstate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/loops"
)

// whole is a loop as it is at one revision, read and verified to its last
// record.
type whole struct {
	loop    loops.Loop
	origin  *knownOrigin
	journal journal
	records int
}

func (s *Store) whole(ctx context.Context, id loops.ID) (whole, error) {
	var w whole
	err := s.reading(ctx, id, func() error {
		c, err := s.chain(ctx, id)
		if err != nil {
			return err
		}
		st, err := s.checkpoint(ctx, c.last)
		if err != nil {
			return err
		}
		if w.origin, err = s.origin(ctx, c.last); err != nil {
			return err
		}
		w.journal, w.records = c.journal, c.last.Count+1
		if w.loop, err = c.journal.loop(st); err != nil {
			return damaged(id, c.last.seq, err)
		}
		return nil
	})
	return w, err
}

// texts returns the blobs that the texts of a loop refer to.
func texts(l loops.Loop) []string {
	refs := []string{l.Output.Blob}
	best := []*loops.Best{l.Best}
	if base := l.Origin.Base; base != nil {
		refs, best = append(refs, base.Output.Blob), append(best, base.Best)
	}
	for _, b := range best {
		if b != nil {
			refs = append(refs, b.Output.Blob)
		}
	}
	for i := range l.Iterations {
		refs = append(refs, l.Iterations[i].Output.Blob)
	}
	slices.Sort(refs)
	return slices.DeleteFunc(slices.Compact(refs), func(ref string) bool { return ref == "" })
}

// loopIDs returns the ids of all loops, sorted.
func (s *Store) loopIDs(ctx context.Context) ([]loops.ID, error) {
	heads, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]loops.ID, len(heads))
	for i, head := range heads {
		ids[i] = head.ID
	}
	slices.Sort(ids)
	return ids, nil
}

// allBlobs returns the blobs of every loop that PutBlob stored, by reference.
func (s *Store) allBlobs(ctx context.Context) (map[loops.ID][]string, error) {
	all := map[loops.ID][]string{}
	add := func(id, ref string) {
		if isReference(ref) && valid(loops.ID(id)) {
			all[loops.ID(id)] = append(all[loops.ID(id)], ref)
		}
	}
	kept, err := s.js.Stream(ctx, streamKept)
	if err == nil {
		var info *jetstream.StreamInfo
		if info, err = kept.Info(ctx, jetstream.WithSubjectFilter(allKept)); err == nil {
			for subject := range info.State.Subjects {
				id, ref, _ := strings.Cut(strings.TrimPrefix(subject, keptPrefix), ".")
				add(id, ref)
			}
		}
	}
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("list the blobs: %w", err)
	}
	if _, err := s.js.Stream(ctx, s.blobs.stream.config.Name); errors.Is(err, jetstream.ErrStreamNotFound) {
		return sorted(all), nil
	}
	names, err := s.blobs.names(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the blobs: %w", err)
	}
	for _, name := range names {
		id, ref, _ := strings.Cut(name, "/")
		add(id, ref)
	}
	return sorted(all), nil
}

func sorted(all map[loops.ID][]string) map[loops.ID][]string {
	for id, refs := range all {
		slices.Sort(refs)
		all[id] = slices.Compact(refs)
	}
	return all
}

// besides calls each with every message of a stream that may not be there.
func (s *Store) besides(ctx context.Context, stream, subject string, each func(stored) error) error {
	_, err := s.js.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err == nil {
		err = s.batch(ctx, stream, subject, 1, each)
	}
	if err != nil {
		return fmt.Errorf("read the stream %s: %w", stream, err)
	}
	return nil
}

// blobIndex is the list of all blobs as it was at some moment.
type blobIndex struct {
	seqs [2]uint64 // of the streams at that moment
	all  map[loops.ID][]string
}

// blobKey names a blob: the loop that it was stored for, and its reference.
type blobKey struct {
	id  loops.ID
	ref string
}

func (b blobKey) name() string { return blobName(b.id, b.ref) }

// namesFor returns the blobs that a loop may refer to: its own and those of the
// loops that it pins. What its texts refer to is among them, be it there or not.
func (index *blobIndex) namesFor(l loops.Loop) []blobKey {
	var names []blobKey
	there := map[string]bool{}
	for _, id := range append([]loops.ID{l.ID}, l.Origin.Pins...) {
		for _, ref := range index.all[id] {
			names = append(names, blobKey{id, ref})
			there[ref] = true
		}
	}
	for _, ref := range texts(l) {
		if !there[ref] {
			names = append(names, blobKey{l.ID, ref})
		}
	}
	return names
}

// refresh lists the blobs anew if there may be others.
func (s *Store) refresh(ctx context.Context, index *blobIndex) error {
	var now [2]uint64
	for i, name := range []string{streamKept, s.blobs.stream.config.Name} {
		stream, err := s.js.Stream(ctx, name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
		case err != nil:
			return err
		default:
			now[i] = stream.CachedInfo().State.LastSeq
		}
	}
	if index.all != nil && index.seqs == now {
		return nil
	}
	all, err := s.allBlobs(ctx)
	index.seqs, index.all = now, all
	return err
}
