package kvstate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/loop-mcp/loops"
)

// Checked is what [Store.Verify] found out about a loop.
type Checked struct {
	ID         loops.ID     `json:"loop_id"`
	Status     loops.Status `json:"status"` // as far as it can be read
	Rev        uint64       `json:"revision"`
	Iterations int          `json:"iterations"`
	Records    int          `json:"records"` // since its last snapshot, with it
	Blobs      int          `json:"blobs"`
	Problems   []string     `json:"problems,omitempty"`
}

// Verification is the answer of [Store.Verify].
type Verification struct {
	Loops    []Checked `json:"loops"`              // by id
	Beside   int       `json:"records_beside"`     // records of Update and request ids
	Marked   bool      `json:"marked"`             // the store has a high-water mark
	Problems []string  `json:"problems,omitempty"` // of what is beside the loops
}

// Damaged returns how many loops, and records beside them, have problems.
func (v Verification) Damaged() int {
	n := len(v.Problems)
	for _, c := range v.Loops {
		if len(c.Problems) > 0 {
			n++
		}
	}
	return n
}

// Verify reads all that is stored and verifies it: of each loop every record,
// its place in the journal, its parts and its blobs, and that nothing is older
// than its mark. It changes no loop. An error means that the store could not be
// read to the end.
func (s *Store) Verify(ctx context.Context) (Verification, error) {
	v := Verification{Loops: []Checked{}, Marked: s.marks.Found()}
	ids, err := s.loopIDs(ctx)
	if err != nil {
		return v, fmt.Errorf("verify the store: %w", err)
	}
	blobs, err := s.allBlobs(ctx)
	if err != nil {
		return v, fmt.Errorf("verify the store: %w", err)
	}
	for _, id := range ids {
		c, err := s.verifyLoop(ctx, id, &blobIndex{all: blobs}, ids)
		if errors.Is(err, loops.ErrNotFound) {
			continue // its time has come
		}
		if err != nil {
			return v, fmt.Errorf("verify the store: loop %s: %w", id, err)
		}
		v.Loops = append(v.Loops, c)
	}
	err = s.verifyBeside(ctx, &v)
	if errors.Is(err, errMangled) { // what comes after it can't be read
		v.Problems = append(v.Problems, fmt.Sprintf("%v: %v", err, loops.ErrDamaged))
		err = nil
	}
	if err != nil {
		return v, fmt.Errorf("verify the store: %w", err)
	}
	return v, nil
}

// verifyLoop verifies a loop and its blobs, and those that a loop left that is gone
// and that this one pins.
func (s *Store) verifyLoop(ctx context.Context, id loops.ID, index *blobIndex, ids []loops.ID) (Checked, error) {
	c := Checked{ID: id, Status: loops.Failed}
	w, err := s.whole(ctx, id)
	shelves := []loops.ID{id}
	switch {
	case errors.Is(err, loops.ErrDamaged):
		c.Problems = append(c.Problems, err.Error())
	case err != nil:
		return c, err
	default:
		c.Status, c.Rev, c.Iterations, c.Records = w.loop.Status, w.loop.Rev, w.loop.Iteration, w.records
		for _, b := range index.namesFor(w.loop) {
			if !slices.Contains(index.all[b.id], b.ref) {
				c.Problems = append(c.Problems, fmt.Sprintf("the blob %s of an output is missing", b.ref))
			}
		}
		for _, pin := range w.loop.Origin.Pins {
			if _, there := slices.BinarySearch(ids, pin); !there {
				shelves = append(shelves, pin)
			}
		}
	}
	for _, shelf := range shelves {
		if err := s.verifyBlobs(ctx, shelf, index.all[shelf], &c); err != nil {
			return c, err
		}
	}
	return c, nil
}

// verifyBlobs verifies what was stored for one loop.
func (s *Store) verifyBlobs(ctx context.Context, id loops.ID, refs []string, c *Checked) error {
	c.Blobs += len(refs)
	if err := s.keptLost(ctx, id); errors.Is(err, loops.ErrDamaged) {
		c.Problems = append(c.Problems, err.Error())
	} else if err != nil {
		return err
	}
	for _, ref := range refs {
		_, err := s.Blob(ctx, id, ref)
		switch {
		case errors.Is(err, loops.ErrDamaged) || errors.Is(err, loops.ErrNotFound):
			c.Problems = append(c.Problems, err.Error())
		case err != nil:
			return err
		}
	}
	return nil
}

// verifyBeside verifies the records of Update, the request ids and their marks.
func (s *Store) verifyBeside(ctx context.Context, v *Verification) error {
	there := map[string]uint64{}
	err := s.besides(ctx, streamRecords, recordSubject(">"), func(m stored) error {
		key := strings.TrimPrefix(m.subject, recordSubject(""))
		there[recordMark(key)] = m.seq
		v.Beside++
		if _, err := s.side(ctx, key); errors.Is(err, loops.ErrDamaged) {
			v.Problems = append(v.Problems, fmt.Sprintf("the record %s: %v", key, err))
		} else if err != nil {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = s.besides(ctx, streamRequests, requestSubject(">"), func(m stored) error {
		there[requestMark(m.subject)] = m.seq
		v.Beside++
		if _, err := readBound(m); err != nil {
			v.Problems = append(v.Problems, err.Error())
		}
		return nil
	})
	if err != nil {
		return err
	}
	marks := s.marks.All()
	for key, m := range marks {
		if _, ok := there[key]; !ok && strings.Contains(key, "/") && !strings.HasPrefix(key, keptMark("")) {
			v.Problems = append(v.Problems, fmt.Sprintf("%s: %v", key, &setBackError{mark: m.Rev}))
		}
	}
	slices.Sort(v.Problems)
	return nil
}
