package kvstate

import (
	"container/list"
	"slices"
	"sync"

	"example.com/loop-mcp/loops"
)

// maxJournals bounds the bytes of the journals that are kept in memory: with what
// small iterations leave there, enough for several thousand loops at work.
const maxJournals = 32 << 20

// entryCost is what an entry of a journal takes beside its bytes.
const entryCost = 48

// journals keeps the journals of the loops that this store commits to, so that a
// snapshot reads nothing back. One counts only for the record that it ends with,
// named by revision and nonce: after a commit of another process it is ignored.
type journals struct {
	mu      sync.Mutex
	known   map[loops.ID]*knownJournal
	work    list.List // of those that were added to, the one that was used last in front
	fresh   list.List // the others, the newest in front
	bytes   int
	clock   uint64 // counts commits of this store
	scratch []byte // for packing
}

// knownJournal is the journal of a loop up to one of its records.
type knownJournal struct {
	id loops.ID
	packedJournal
	rev     uint64
	nonce   string
	objects []string // parts of the records since the snapshot that are in the object store
	bytes   int      // as they were counted last
	used    uint64   // when
	list    *list.List
	place   *list.Element
}

// get returns the journal up to the record at rev. The caller may add to it.
func (c *journals) get(id loops.ID, rev uint64, nonce string) (journal, []string, bool) {
	c.mu.Lock()
	k := c.known[id]
	if k == nil || k.rev != rev || k.nonce != nonce {
		c.mu.Unlock()
		return journal{}, nil, false
	}
	p, objects := k.packedJournal, slices.Clone(k.objects)
	p.open = slices.Clone(p.open) // what is packed stays as it is
	c.mu.Unlock()
	j, err := p.unpack()
	return j, objects, err == nil
}

// extend notes that the delta w has been written at seq, if the journal up to
// the record before it is known.
func (c *journals) extend(w *write, seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[w.Head.ID]
	if k == nil {
		return
	}
	if k.rev != w.Prev || k.nonce != w.PrevNonce {
		c.forget(k.id)
		return
	}
	k.objects = append(k.objects, w.objects()...)
	k.rev, k.nonce = seq, w.Nonce
	c.use(k)
	c.add(k, &w.delta)
}

// replace notes that the snapshot w has been written at seq.
func (c *journals) replace(w *write, seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := w.Head.ID
	if w.Head.Status.Settled() {
		c.forget(id)
		return
	}
	k, added := c.known[id], &w.delta
	if k == nil || k.rev != w.Prev || k.nonce != w.PrevNonce || k.dropped != w.journal.Dropped {
		c.forget(id)
		k = &knownJournal{id: id}
		k.addAll(&w.journal)
		if c.known == nil {
			c.known = map[loops.ID]*knownJournal{}
		}
		c.known[id], k.list, k.place = k, &c.fresh, c.fresh.PushFront(k)
		added = &rawDelta{} // it is in the journal
	} else {
		c.use(k)
	}
	k.objects = w.objects()
	k.rev, k.nonce = seq, w.Nonce
	c.add(k, added)
}

// use notes that k is at work.
func (c *journals) use(k *knownJournal) {
	k.list.Remove(k.place)
	k.list, k.place = &c.work, c.work.PushFront(k)
}

// add adds d to k and makes room for it.
func (c *journals) add(k *knownJournal, d *rawDelta) {
	k.packedJournal.add(d)
	c.scratch = k.pack(c.scratch)
	c.clock++
	k.used = c.clock
	c.bytes -= k.bytes
	k.bytes = k.size()
	c.bytes += k.bytes
	for c.bytes > maxJournals && c.known[k.id] == k {
		c.forget(c.leastUseful(k).id)
	}
}

// leastUseful returns the journal that goes to make room for k: that of a loop which
// was only created, then of one that commits rarely. When all are at work it is k, to
// be read from the store: whichever went in its place would be asked for as soon.
func (c *journals) leastUseful(k *knownJournal) *knownJournal {
	if k.bytes > maxJournals {
		return k
	}
	if e := c.fresh.Back(); e != nil && e != k.place {
		return e.Value.(*knownJournal)
	}
	if e := c.work.Back(); e != nil {
		if oldest := e.Value.(*knownJournal); c.clock-oldest.used > 4*uint64(c.work.Len()) {
			return oldest
		}
	}
	return k
}

// size is about what the journal takes in memory.
func (k *knownJournal) size() int {
	const fixed = 400
	size := fixed + k.packedJournal.size()
	for _, name := range k.objects {
		size += len(name) + entryCost
	}
	return size
}

// drop forgets a loop, such as one that does not verify.
func (c *journals) drop(id loops.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(id)
}

func (c *journals) forget(id loops.ID) {
	if k := c.known[id]; k != nil {
		c.bytes -= k.bytes
		k.list.Remove(k.place)
		delete(c.known, id)
	}
}
