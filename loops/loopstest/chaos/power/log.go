package power

import (
	"strings"
	"sync"
)

// Notes is the file in the root of a Disk whose writes go into the log as they
// are, one note each, and are not part of the store.
const Notes = "notes"

// kind is what an op does.
type kind uint8

const (
	opWrite    kind = iota // data at off of node
	opTruncate             // node has off bytes
	opSync                 // node, a file or a directory, is on the disk
	opMake                 // name in dir is the new node
	opRemove               // name is gone from dir
	opRename               // name in dir is now to in toDir
	opNote                 // data was said by the program
)

// op is one entry of a Log.
type op struct {
	kind     kind
	node     uint64 // the file or directory; of opRename the one that moves
	dir      uint64
	name     string
	toDir    uint64
	to       string
	off      int64
	data     []byte
	isDir    bool
	isSocket bool
}

// rootNode is the number of a disk's root.
const rootNode = 1

// Log is what happened on a disk. It is safe for concurrent use.
type Log struct {
	mu  sync.Mutex
	ops []op
}

func (l *Log) add(o op) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ops = append(l.ops, o)
}

// all returns what there is; ops are only ever appended.
func (l *Log) all() []op {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ops[:len(l.ops):len(l.ops)]
}

// Len returns how many entries there are. A cut at n is after the n-th.
func (l *Log) Len() int { return len(l.all()) }

// Note is something that the program said.
type Note struct {
	At   int // entries before it, itself included: a cut at At or later is after it
	Text []byte
}

// Notes returns what the program said, in order.
func (l *Log) Notes() (notes []Note) {
	for i, o := range l.all() {
		if o.kind == opNote {
			notes = append(notes, Note{i + 1, o.data})
		}
	}
	return notes
}

// Names returns the places right after each change of a name, where a cut is
// most likely to part what belongs together.
func (l *Log) Names() (at []int) {
	for i, o := range l.all() {
		if o.kind == opMake || o.kind == opRemove || o.kind == opRename || o.kind == opTruncate {
			at = append(at, i+1)
		}
	}
	return at
}

// Synced returns the place right after the last sync before at of a file whose
// name ends with suffix; 0: there is none.
func (l *Log) Synced(suffix string, at int) (last int) {
	match := map[uint64]bool{}
	for i, o := range l.all()[:at] {
		switch {
		case o.kind == opMake:
			match[o.node] = strings.HasSuffix(o.name, suffix)
		case o.kind == opRename:
			match[o.node] = strings.HasSuffix(o.to, suffix)
		case o.kind == opSync && match[o.node]:
			last = i + 1
		}
	}
	return last
}

// Renamed returns how often a name became one that ends with suffix.
func (l *Log) Renamed(suffix string) (n int) {
	for _, o := range l.all() {
		if o.kind == opRename && strings.HasSuffix(o.to, suffix) {
			n++
		}
	}
	return n
}

// Made returns how often a name that ends with suffix was made.
func (l *Log) Made(suffix string) (n int) {
	for _, o := range l.all() {
		if o.kind == opMake && strings.HasSuffix(o.name, suffix) {
			n++
		}
	}
	return n
}

// Syncs returns how often something was synced between two places in the log.
func (l *Log) Syncs(from, to int) (n int) {
	for _, o := range l.all()[from:to] {
		if o.kind == opSync {
			n++
		}
	}
	return n
}

// Unsynced returns how many files have writes at a place in the log that were not
// synced.
func (l *Log) Unsynced(at int) int {
	pending := map[uint64]bool{}
	for _, o := range l.all()[:at] {
		switch o.kind {
		case opWrite, opTruncate:
			pending[o.node] = true
		case opSync:
			delete(pending, o.node)
		}
	}
	return len(pending)
}
