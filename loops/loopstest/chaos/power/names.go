package power

import "math/rand/v2"

// change is one change of a directory that reaches the disk as a whole.
type change struct {
	at   int // in the log
	gone string
	made string
	new  entry
	from uint64 // the directory that the entry came from, if that is another one
}

// how many of n changes, of which the first kept are certain, reach the disk.
func reached(kept, n int, loss Loss, r *rand.Rand) int {
	switch loss {
	case LoseAll:
		return kept
	case LoseNone:
		return n
	}
	return kept + r.IntN(n-kept+1)
}

// touches reports whether an op changes a name of the node.
func (o op) touches(node uint64) bool {
	return (o.kind == opMake || o.kind == opRename) && o.node == node
}

func (o op) names() bool { return o.kind == opMake || o.kind == opRemove || o.kind == opRename }

// ordered returns the names on a file system that keeps changes of names in
// order, and with a synced file those up to its last one.
func ordered(ops []op, loss Loss, r *rand.Rand) tree {
	var changes []op
	kept := 0
	last, within := map[uint64]int{}, map[uint64]int{} // number of changes up to the last one of a node, and inside a directory
	for _, o := range ops {
		switch {
		case o.names():
			changes = append(changes, o)
			if o.kind != opRemove {
				last[o.node] = len(changes)
			}
			within[o.dir] = len(changes)
			if o.kind == opRename {
				within[o.toDir] = len(changes)
			}
		case o.kind == opSync:
			kept = max(kept, last[o.node])
			if o.isDir {
				kept = max(kept, within[o.node])
			}
		}
	}
	t, kinds := tree{}, map[uint64]entry{}
	for _, o := range changes[:reached(kept, len(changes), loss, r)] {
		t.apply(o, kinds)
	}
	return t
}

// apply changes the names as the program did.
func (t tree) apply(o op, kinds map[uint64]entry) {
	if t[o.dir] == nil {
		t[o.dir] = map[string]entry{}
	}
	switch o.kind {
	case opMake:
		e := entry{o.node, o.isDir, o.isSocket}
		kinds[o.node] = e
		t[o.dir][o.name] = e
	case opRemove:
		delete(t[o.dir], o.name)
	case opRename:
		delete(t[o.dir], o.name)
		if t[o.toDir] == nil {
			t[o.toDir] = map[string]entry{}
		}
		t[o.toDir][o.to] = kinds[o.node]
	}
}

// strict returns the names on a file system on which only a sync of a directory
// keeps its names, and each directory is on its own.
func strict(ops []op, loss Loss, r *rand.Rand) tree {
	kept, kinds := map[uint64]int{}, map[uint64]entry{} // kept: changes of a directory that are certain
	changes := map[uint64][]change{}
	var dirs []uint64
	add := func(dir uint64, c change) {
		if changes[dir] == nil {
			dirs = append(dirs, dir)
		}
		changes[dir] = append(changes[dir], c)
	}
	for i, o := range ops {
		switch o.kind {
		case opMake:
			kinds[o.node] = entry{o.node, o.isDir, o.isSocket}
			add(o.dir, change{at: i, made: o.name, new: kinds[o.node]})
		case opRemove:
			add(o.dir, change{at: i, gone: o.name})
		case opRename:
			if o.dir == o.toDir {
				add(o.dir, change{at: i, gone: o.name, made: o.to, new: kinds[o.node]})
				break
			}
			add(o.toDir, change{at: i, made: o.to, new: kinds[o.node], from: o.dir})
			add(o.dir, change{at: i, gone: o.name})
		case opSync:
			if o.isDir {
				kept[o.node] = len(changes[o.node])
			}
		}
	}
	n := map[uint64]int{}
	for _, dir := range dirs {
		n[dir] = reached(kept[dir], len(changes[dir]), loss, r)
	}
	keepMoved(dirs, changes, n)
	t := tree{}
	for _, dir := range dirs {
		t[dir] = map[string]entry{}
		for _, c := range changes[dir][:n[dir]] {
			delete(t[dir], c.gone)
			if c.made != "" {
				t[dir][c.made] = c.new
			}
		}
	}
	return t
}

// keepMoved sees to it that what has left one directory has come to the other:
// every file system does that as one.
func keepMoved(dirs []uint64, changes map[uint64][]change, n map[uint64]int) {
	for again := true; again; {
		again = false
		for _, dir := range dirs {
			for i, c := range changes[dir] {
				if c.from == 0 || i < n[dir] {
					continue
				}
				for _, left := range changes[c.from][:n[c.from]] {
					if left.at == c.at {
						n[dir], again = i+1, true
					}
				}
			}
		}
	}
}
