package kvstate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"

	"example.com/loop-mcp/internal/bugs"
	"example.com/loop-mcp/loops"
)

// The parts of a record.
const (
	partCheckpoint = iota
	partJournal
)

const (
	maxInline  = 256 << 10 // bytes of a part that stays in the record
	worthwhile = 4 << 10   // bytes of a body that is tried to compress
)

// record is a stored message of a loop.
type record struct {
	header
	seq  uint64
	at   time.Time
	body []byte
}

// stored is a message as the server returns it.
type stored struct {
	subject string
	seq     uint64
	at      time.Time
	header  nats.Header
	data    []byte
}

// marker reports whether the message says that the key is gone.
func marker(h nats.Header) bool {
	return h.Get("KV-Operation") == "DEL" || h.Get("KV-Operation") == "PURGE" || h.Get("Nats-Marker-Reason") != ""
}

// readRecord verifies a message of loop id.
func readRecord(id loops.ID, m stored) (record, error) {
	h, err := decodeHeader(m.header.Get(headHeader), id, m.seq)
	if err == nil && h.Sum != checksum(m.data) && !bugs.NoChecksum {
		err = errors.New("the checksum of the record is wrong")
	}
	if err != nil {
		return record{}, damaged(id, m.seq, err)
	}
	return record{header: h, seq: m.seq, at: m.at, body: m.data}, nil
}

// damageError says what does not verify. It is [loops.ErrDamaged].
type damageError struct {
	id  loops.ID
	rev uint64
	err error
}

func damaged(id loops.ID, rev uint64, err error) error { return &damageError{id, rev, err} }

func (e *damageError) Error() string {
	return fmt.Sprintf("loop %s, record at revision %d: %v: %v", e.id, e.rev, loops.ErrDamaged, e.err)
}

func (e *damageError) Is(target error) bool { return target == loops.ErrDamaged }
func (e *damageError) Unwrap() error        { return e.err }

// pack makes the body of a record from its parts. A part that is too large for
// it is put into the object store first.
func (s *Store) pack(ctx context.Context, h *header, parts [2][]byte) ([]byte, error) {
	body := make([]byte, 0, min(len(parts[0]), maxInline)+min(len(parts[1]), maxInline))
	for i, part := range parts {
		if len(part) > maxInline {
			o := &object{Name: fmt.Sprintf("r%d-%s-%d", h.Prev, h.Nonce, i), Sum: checksum(part)}
			if err := s.blobs.put(ctx, string(h.Head.ID)+"/"+o.Name, part); err != nil {
				return nil, err
			}
			// gofail: var afterObject struct{}
			h.Objects[i] = o
			continue
		}
		h.Lengths[i] = len(part)
		body = append(body, part...)
	}
	if len(body) >= worthwhile {
		if packed := s2.Encode(nil, body); len(packed) < len(body)-len(body)/8 {
			body, h.Packed = packed, true
		}
	}
	h.Sum = checksum(body)
	return body, nil
}

// part returns one part of a record.
func (s *Store) part(ctx context.Context, r record, i int) ([]byte, error) {
	if o := r.Objects[i]; o != nil {
		data, err := s.blobs.get(ctx, string(r.Head.ID)+"/"+o.Name)
		switch {
		case errors.Is(err, errNoObject):
			return nil, damaged(r.Head.ID, r.seq, fmt.Errorf("its part %s is gone from the store", o.Name))
		case spoilt(err):
			return nil, damaged(r.Head.ID, r.seq, fmt.Errorf("its part %s: %w", o.Name, err))
		case err != nil:
			return nil, err
		case checksum(data) != o.Sum:
			return nil, damaged(r.Head.ID, r.seq, fmt.Errorf("the checksum of its part %s is wrong", o.Name))
		}
		return data, nil
	}
	body, err := r.unpacked()
	if err != nil {
		return nil, damaged(r.Head.ID, r.seq, err)
	}
	if i == partCheckpoint {
		return body[:r.Lengths[0]], nil
	}
	return body[r.Lengths[0]:], nil
}

// unpacked returns the body as it was before it was compressed.
func (r record) unpacked() ([]byte, error) {
	for _, length := range r.Lengths {
		if length < 0 || length > maxInline {
			return nil, fmt.Errorf("a part of it has %d bytes, which cannot be", length)
		}
	}
	size, want, body := len(r.body), r.Lengths[0]+r.Lengths[1], r.body
	var err error
	if r.Packed {
		if size, err = s2.DecodedLen(body); err == nil && size == want {
			body, err = s2.Decode(nil, body)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("it cannot be unpacked: %w", err)
	}
	if size != want {
		return nil, fmt.Errorf("it has %d bytes, not %d", size, want)
	}
	return body, nil
}

// readPart decodes one part of a record.
func readPart[T any](ctx context.Context, s *Store, r record, i int) (T, error) {
	var v T
	data, err := s.part(ctx, r, i)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return v, damaged(r.Head.ID, r.seq, fmt.Errorf("it cannot be read: %w", err))
	}
	return v, nil
}
