package kvstate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate/mark"
	"example.com/loop-mcp/loops"
)

// Blobs up to maxInline are one message each in the bucket LOOPKEPT: one round
// trip and one sync, where an object takes three and two. Larger ones are objects.
const (
	streamKept = "KV_LOOPKEPT"
	keptPrefix = "$KV.LOOPKEPT."
	allKept    = keptPrefix + ">"
)

func keptSubject(id loops.ID, ref string) string { return keptPrefix + string(id) + "." + ref }

func (s *Store) keptConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: streamKept, Description: "loops: what bodies and conditions keep beside them", Subjects: []string{allKept},
		MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, AllowRollup: true, AllowDirect: true,
		Replicas: max(s.opts.Replicas, 1),
	}
}

// PutBlob implements [loops.Store]. A reference is the SHA-256 of the data.
func (s *Store) PutBlob(ctx context.Context, id loops.ID, data []byte) (string, error) {
	end, err := s.begin(ctx)
	if err != nil {
		return "", fmt.Errorf("store a blob of %s: %w", id, err)
	}
	defer end()
	if !valid(id) {
		return "", fmt.Errorf("store a blob of %q: %w", id, loops.ErrNotFound)
	}
	ref := reference(data)
	if err := s.putBlob(ctx, id, ref, data); err != nil {
		return "", fmt.Errorf("store a blob of %s: %w", id, err)
	}
	return ref, nil
}

func (s *Store) putBlob(ctx context.Context, id loops.ID, ref string, data []byte) error {
	if len(data) <= maxInline {
		return s.keep(ctx, id, ref, data)
	}
	return s.blobs.put(ctx, blobName(id, ref), data)
}

func blobName(id loops.ID, ref string) string { return string(id) + "/" + ref }

// keep stores a small blob unless it is there.
func (s *Store) keep(ctx context.Context, id loops.ID, ref string, data []byte) error {
	if err := s.kept.ensure(ctx); err != nil {
		return err
	}
	ctx, cancel := patient(ctx)
	defer cancel()
	m := &nats.Msg{Subject: keptSubject(id, ref), Data: data, Header: nats.Header{"Nats-Expected-Last-Subject-Sequence": {"0"}}}
	if len(data) >= worthwhile {
		if packed := s2.Encode(nil, data); len(packed) < len(data)-len(data)/8 {
			m.Data = packed
			m.Header.Set(packedMark, "s2")
		}
	}
	for try := 0; ; try++ {
		rev, err := s.try(ctx, m)
		if err == nil {
			s.marks.Note(keptMark(id), mark.Mark{Rev: rev})
			return nil
		}
		_, readErr := s.leader(ctx, streamKept, getRequest{LastFor: m.Subject})
		switch {
		case readErr == nil:
			return nil // it is there, by this try or by another one
		case !errors.Is(readErr, errNoRecord):
			return readErr
		case final(err):
			return fmt.Errorf("the store refused it: %w", err)
		}
		if err := s.again(ctx, try, err); err != nil {
			return err
		}
	}
}

// Blob implements [loops.Store].
func (s *Store) Blob(ctx context.Context, id loops.ID, ref string) ([]byte, error) {
	end, err := s.begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("read a blob of %s: %w", id, err)
	}
	defer end()
	if !valid(id) || !isReference(ref) {
		return nil, fmt.Errorf("blob %q of loop %q: %w", ref, id, loops.ErrNotFound)
	}
	shelves, err := s.shelves(ctx, id)
	var data []byte
	if err == nil {
		data, err = s.fetch(ctx, shelves, ref)
	}
	switch {
	case errors.Is(err, errNoObject):
		return nil, fmt.Errorf("blob %s of loop %s: %w", ref, id, loops.ErrNotFound)
	case spoilt(err) || err == nil && reference(data) != ref:
		return nil, fmt.Errorf("blob %s of loop %s has another checksum: %w", ref, id, loops.ErrDamaged)
	case err != nil:
		return nil, fmt.Errorf("blob %s of loop %s: %w", ref, id, err)
	}
	return data, nil
}

// fetch reads a blob of the first of the loops that has it.
func (s *Store) fetch(ctx context.Context, ids []loops.ID, ref string) ([]byte, error) {
	if err := s.kept.ensure(ctx); err != nil {
		return nil, err
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = blobName(id, ref)
		m, err := s.direct(ctx, streamKept, getRequest{LastFor: keptSubject(id, ref)})
		switch {
		case errors.Is(err, errNoRecord):
			continue
		case err != nil:
			return nil, err
		case m.header.Get(packedMark) != "":
			return s2.Decode(nil, m.data)
		}
		return m.data, nil
	}
	return s.blobs.get(ctx, names...)
}

// keptLost returns an error when the newest small blob of a loop is gone.
func (s *Store) keptLost(ctx context.Context, id loops.ID) error {
	acknowledged := s.acknowledged(keptMark(id))
	if acknowledged == 0 {
		return nil
	}
	if err := s.kept.ensure(ctx); err != nil {
		return err
	}
	newest, err := s.leader(ctx, streamKept, getRequest{LastFor: keptSubject(id, ">")})
	if spoilt(err) {
		return fmt.Errorf("what bodies kept beside the loop: %w: %w", err, loops.ErrDamaged)
	}
	if err != nil && !errors.Is(err, errNoRecord) {
		return err
	}
	if newest.seq < acknowledged {
		return fmt.Errorf("what bodies kept beside the loop: %w: %w", &setBackError{newest.seq, acknowledged}, loops.ErrDamaged)
	}
	return nil
}

// sweepKept removes the small blobs of loops that are gone and that none pins.
func (s *Store) sweepKept(ctx context.Context, floors map[loops.ID]uint64, pinned map[loops.ID]bool) error {
	stream, err := s.js.Stream(ctx, streamKept)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil // there was never one
	}
	if err != nil {
		return fmt.Errorf("sweep the blobs: %w", err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(allKept))
	if err != nil {
		return fmt.Errorf("sweep the blobs: %w", err)
	}
	gone := map[loops.ID]bool{}
	for subject := range info.State.Subjects {
		id, _, _ := strings.Cut(strings.TrimPrefix(subject, keptPrefix), ".")
		if _, there := floors[loops.ID(id)]; !there && !pinned[loops.ID(id)] {
			gone[loops.ID(id)] = true
		}
	}
	for id := range gone {
		newest, err := s.leader(ctx, streamKept, getRequest{LastFor: keptSubject(id, ">")})
		if errors.Is(err, errNoRecord) || err == nil && time.Since(newest.at) < sweepAge {
			continue // its loop may be about to be created
		}
		if err == nil {
			err = stream.Purge(ctx, jetstream.WithPurgeSubject(keptSubject(id, ">")))
			s.marks.Forget(keptMark(id), newest.seq)
		}
		if err != nil {
			return fmt.Errorf("sweep the blobs: %w", err)
		}
	}
	return nil
}

func reference(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func isReference(ref string) bool {
	return len(ref) == 2*sha256.Size && strings.Trim(ref, "0123456789abcdef") == ""
}
