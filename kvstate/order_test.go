package kvstate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
	"github.com/google/go-cmp/cmp"
)

// TestAPageOfALargeStoreIsInOrderWhateverChanges compares the order that is kept
// with one that is made anew, while loops come, change, are quarantined and go.
func TestAPageOfALargeStoreIsInOrderWhateverChanges(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	p := projection{entries: map[loops.ID]*entry{}, ready: queue{
		alive: func(string) bool { return false }, waiting: map[loops.ID]want{}, claimed: map[loops.ID]*entry{}, handed: map[loops.ID]uint64{},
	}}
	statuses, rev := loops.Statuses(), uint64(0)
	change := func() {
		id := loops.ID(fmt.Sprintf("loop-%04d", r.IntN(3000)))
		rev++
		switch r.IntN(10) {
		case 0:
			p.removed(id, rev)
		case 1:
			p.quarantine(id, rev, &damageError{id: id, rev: rev, err: errNoRecord})
		default:
			h := header{Head: loops.Head{ID: id, Status: statuses[r.IntN(len(statuses))], UpdatedAt: time.Unix(0, r.Int64N(500))}}
			p.committed(&entry{header: h}, values{}, rev)
		}
	}
	for range 6000 {
		change()
	}
	page := func(after loops.Rank, most int) (ids []loops.ID) {
		p.ascend(time.Now(), after, func(h *loops.Head) bool {
			ids = append(ids, h.ID)
			return len(ids) < most
		})
		return ids
	}
	page(loops.Rank{}, 1)
	for range 200 {
		for range r.IntN(40) {
			change()
		}
		var all []loops.Rank
		ids := map[loops.Rank]loops.ID{}
		p.scan(time.Now(), func(h *loops.Head) { all, ids[loops.RankOf(h)] = append(all, loops.RankOf(h)), h.ID })
		slices.SortFunc(all, loops.Rank.Compare)
		at := r.IntN(len(all))
		got := page(all[at], 50)
		var want []loops.ID
		for _, one := range all[at+1 : min(at+51, len(all))] {
			want = append(want, ids[one])
		}
		if diff := cmp.Diff(want, got); diff != "" || !p.order.made {
			t.Fatalf("a page after place %d of %d (order kept: %t):\n%s", at, len(all), p.order.made, diff)
		}
	}
}

// TestNobodyWhoListsKeepsNoOrder ends the upkeep of an order that is not used.
func TestNobodyWhoListsKeepsNoOrder(t *testing.T) {
	var o order
	o.make(nil)
	for n := range minUnused + 1 {
		o.replace(nil, &entry{header: header{Head: loops.Head{ID: loops.ID(fmt.Sprint(n))}}})
	}
	if o.made || o.chunks != nil {
		t.Errorf("after %d changes without a list the order of %d loops is still kept", minUnused+1, o.size)
	}
}
