package kvstate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"example.com/loop-mcp/loops"
)

// order has all entries as lists show them. It is made by the first list and kept
// up as long as lists come: a process that never lists pays nothing for it. Its
// users hold the projection's mu.
type order struct {
	made   bool
	chunks [][]ranked // in order, none of them empty
	size   int
	unused int // changes since it was used
}

// ranked is an entry with its rank, which is compared without a look at the entry.
type ranked struct {
	rank loops.Rank
	e    *entry
}

const (
	maxChunk  = 512
	minUnused = 4096 // changes without a list after which the order is given up, or as many as there are loops
)

// make sorts all entries.
func (o *order) make(entries map[loops.ID]*entry) {
	o.unused = 0
	if o.made {
		return
	}
	all := make([]ranked, 0, len(entries))
	for _, e := range entries {
		all = append(all, ranked{loops.RankOf(&e.Head), e})
	}
	slices.SortFunc(all, func(a, b ranked) int { return a.rank.Compare(b.rank) })
	o.made, o.size = true, len(all)
	for chunk := range slices.Chunk(all, maxChunk/2) {
		o.chunks = append(o.chunks, slices.Clone(chunk))
	}
}

// find returns where a rank is or would be.
func (o *order) find(r loops.Rank) (chunk, at int, found bool) {
	chunk, found = slices.BinarySearchFunc(o.chunks, r, func(c []ranked, r loops.Rank) int { return c[0].rank.Compare(r) })
	if found {
		return chunk, 0, true
	}
	if chunk--; chunk < 0 {
		return 0, 0, false
	}
	at, found = slices.BinarySearchFunc(o.chunks[chunk], r, func(p ranked, r loops.Rank) int { return p.rank.Compare(r) })
	return chunk, at, found
}

// replace puts e where old was; either may be nil.
func (o *order) replace(old, e *entry) {
	if !o.made {
		return
	}
	if o.unused++; o.unused > max(minUnused, o.size) {
		*o = order{}
		return
	}
	if old != nil {
		o.remove(loops.RankOf(&old.Head))
	}
	if e != nil && o.made {
		o.insert(ranked{loops.RankOf(&e.Head), e})
	}
}

func (o *order) remove(r loops.Rank) {
	chunk, at, found := o.find(r)
	if !found { // it is made anew rather than wrong
		*o = order{}
		return
	}
	o.size--
	o.chunks[chunk] = slices.Delete(o.chunks[chunk], at, at+1)
	if len(o.chunks[chunk]) == 0 {
		o.chunks = slices.Delete(o.chunks, chunk, chunk+1)
	}
}

func (o *order) insert(p ranked) {
	o.size++
	if len(o.chunks) == 0 {
		o.chunks = [][]ranked{{p}}
		return
	}
	chunk, at, _ := o.find(p.rank)
	c := slices.Insert(o.chunks[chunk], at, p)
	o.chunks[chunk] = c
	if len(c) > maxChunk {
		half := len(c) / 2
		o.chunks = slices.Insert(o.chunks, chunk+1, slices.Clone(c[half:]))
		clear(c[half:])
		o.chunks[chunk] = c[:half]
	}
}

// ascend calls each with the entries after a rank until it returns false.
func (o *order) ascend(after loops.Rank, each func(*entry) bool) {
	chunk, at, found := o.find(after)
	if found {
		at++
	}
	for ; chunk < len(o.chunks); chunk, at = chunk+1, 0 {
		for _, p := range o.chunks[chunk][at:] {
			if !each(p.e) {
				return
			}
		}
	}
}

// Ascend implements [loops.Ordered].
func (s *Store) Ascend(ctx context.Context, after loops.Rank, each func(*loops.Head) bool) error {
	end, err := s.begin(ctx)
	if err == nil {
		defer end()
		err = s.catchUp(ctx)
	}
	if err != nil {
		return fmt.Errorf("list loops: %w", err)
	}
	s.projection.ascend(time.Now(), after, each)
	return nil
}

func (p *projection) ascend(now time.Time, after loops.Rank, each func(*loops.Head) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.order.make(p.entries)
	var over []loops.ID
	p.order.ascend(after, func(e *entry) bool {
		if e.over(now) {
			over = append(over, e.Head.ID)
			return true
		}
		return each(&e.Head)
	})
	for _, id := range over {
		p.forget(id)
	}
}
