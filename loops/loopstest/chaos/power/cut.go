package power

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// Loss is what becomes of writes that were not synced.
type Loss string

// The kinds of loss.
const (
	LoseAll  Loss = "all"   // none of them is on the disk
	LoseNone Loss = "none"  // all of them are
	LoseTail Loss = "tail"  // of each file a prefix, its last write torn at a sector
	LosePage Loss = "pages" // of each file any pages, in any order
)

// Losses are all of them.
var Losses = []Loss{LoseAll, LoseNone, LoseTail, LosePage}

// Cut is a moment at which the power goes.
type Cut struct {
	At     int  // entries of the log that have happened
	Loss   Loss // of what was not synced
	Strict bool // names are kept by a sync of their directory alone
	Seed   uint64
}

// String tells how to cut there again.
func (c Cut) String() string {
	return fmt.Sprintf("cut at entry %d, losing %s, strict %v, seed %d", c.At, c.Loss, c.Strict, c.Seed)
}

const (
	page   = 4096
	sector = 512
)

// Cut makes in dir, which it creates, what the disk holds after the cut.
func (l *Log) Cut(c Cut, dir string) error {
	ops := l.all()
	if c.At > len(ops) {
		return fmt.Errorf("cut at entry %d: the log has %d", c.At, len(ops))
	}
	ops = ops[:c.At]
	r := rand.New(rand.NewPCG(c.Seed, uint64(c.At)))
	names := ordered(ops, c.Loss, r)
	if c.Strict {
		names = strict(ops, c.Loss, r)
	}
	return names.write(dir, rootNode, contents(ops, c.Loss, r))
}

// contents returns what is on the disk of each file.
func contents(ops []op, loss Loss, r *rand.Rand) map[uint64][]byte {
	synced, pending := map[uint64][]byte{}, map[uint64][]op{}
	for _, o := range ops {
		switch {
		case o.kind == opWrite || o.kind == opTruncate:
			pending[o.node] = append(pending[o.node], o)
		case o.kind == opSync && !o.isDir:
			for _, p := range pending[o.node] {
				synced[o.node] = p.apply(synced[o.node])
			}
			delete(pending, o.node)
		}
	}
	for _, node := range slices.Sorted(maps.Keys(pending)) {
		synced[node] = survive(synced[node], pending[node], loss, r)
	}
	return synced
}

// apply returns the contents of a file after a write or a truncation.
func (o op) apply(data []byte) []byte {
	if o.kind == opTruncate {
		return resize(data, o.off)
	}
	return overwrite(data, o.data, o.off)
}

// survive returns a file of which some of the pending changes reached the disk.
func survive(data []byte, pending []op, loss Loss, r *rand.Rand) []byte {
	switch loss {
	case LoseAll:
		return data
	case LosePage:
		return somePages(data, pending, r)
	case LoseTail:
		kept := r.IntN(len(pending) + 1)
		for _, o := range pending[:kept] {
			data = o.apply(data)
		}
		if kept == len(pending) || pending[kept].kind != opWrite {
			return data
		}
		torn := pending[kept]
		torn.data = torn.data[:r.IntN(len(torn.data)/sector+1)*sector]
		return torn.apply(data)
	}
	for _, o := range pending {
		data = o.apply(data)
	}
	return data
}

// somePages lets each page, and the size, be as it was after any of the pending
// changes.
func somePages(data []byte, pending []op, r *rand.Rand) []byte {
	sizeAt := r.IntN(len(pending) + 1)
	size := int64(len(data))
	pageAt := map[int64]int{}
	for i, o := range pending {
		if i < sizeAt {
			size = o.sizeAfter(size)
		}
		if o.kind == opTruncate {
			if i < sizeAt {
				data = resize(data, o.off)
			}
			continue
		}
		for from := o.off; from < o.off+int64(len(o.data)); {
			n := from / page
			to := min((n+1)*page, o.off+int64(len(o.data)))
			if _, ok := pageAt[n]; !ok {
				pageAt[n] = r.IntN(len(pending) + 1)
			}
			if i < pageAt[n] {
				data = overwrite(data, o.data[from-o.off:to-o.off], from)
			}
			from = to
		}
	}
	return resize(data, size)
}

func (o op) sizeAfter(size int64) int64 {
	if o.kind == opTruncate {
		return o.off
	}
	return max(size, o.off+int64(len(o.data)))
}

// overwrite puts part at off of data, with zeros in front where there was nothing.
func overwrite(data, part []byte, off int64) []byte {
	if end := off + int64(len(part)); end > int64(len(data)) {
		data = resize(data, end)
	}
	copy(data[off:], part)
	return data
}

func resize(data []byte, size int64) []byte {
	if size <= int64(len(data)) {
		return data[:size:size]
	}
	if size <= int64(cap(data)) {
		grown := data[:size]
		clear(grown[len(data):])
		return grown
	}
	grown := make([]byte, size, size+size/4)
	copy(grown, data)
	return grown
}

// tree is the names of a disk: directory to name to node.
type tree map[uint64]map[string]entry

type entry struct {
	node   uint64
	dir    bool
	socket bool
}

// write makes a directory and what is below it.
func (t tree) write(path string, dir uint64, files map[uint64][]byte) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	for name, e := range t[dir] {
		below := filepath.Join(path, name)
		var err error
		switch {
		case e.socket:
		case e.dir:
			err = t.write(below, e.node, files)
		default:
			err = os.WriteFile(below, files[e.node], 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
