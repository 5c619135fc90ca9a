package loops

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// Store keeps loops. All methods are safe for concurrent use. After a method
// returned without an error, what it did survives a crash of the process. An error
// says what was attempted, and with which loop or key: [Engine] does not say it again.
//
// Package loopstest holds the suite that every implementation passes.
type Store interface {
	// Runner names this process for [Claim.Owner]. A claim whose owner is
	// another name and whose process is gone counts as free.
	Runner() string

	// Create stores the first record of a loop and sets Rev. ErrExists when
	// the id is taken. The blobs of the loops in Origin.Pins are kept as long as
	// this one is there; instead of a pin the store may give it a blob of its
	// own. ErrNotFound when the first of them is not there.
	Create(ctx context.Context, s State) (State, error)

	// Load returns the current checkpoint, with Origin and Rev. ErrNotFound
	// for an unknown id, ErrDamaged when a record does not verify.
	Load(ctx context.Context, id ID) (State, error)

	// History returns the checkpoint and the journal. Errors as in Load.
	History(ctx context.Context, id ID) (Loop, error)

	// Commit stores s and s.New in one step if the stored revision still is
	// s.Rev, and returns s with the new Rev and an empty New. ErrConflict when
	// the loop changed meanwhile. An error of any other kind leaves the outcome
	// settled too: Commit itself finds out whether a write landed before it
	// returns; only when the store cannot be asked it returns that error.
	Commit(ctx context.Context, s State) (State, error)

	// Reserve binds requestID to id and returns id; when the request was bound
	// before, the id of that time.
	Reserve(ctx context.Context, requestID string, id ID) (ID, error)

	// List returns the head of every loop, in no order. Every loop whose
	// Create or Commit was acknowledged before the call, in any process, is
	// there as it was then or newer. A damaged loop is there as Failed, its
	// Summary saying what is wrong.
	List(ctx context.Context) ([]Head, error)

	// Ready waits for a loop that wants a worker: Head.WantsWorker is due and
	// the claim is free or its owner gone. It returns the revision of which that
	// is true: whoever finds another one must not take the loop, because its
	// claim may be a living worker's. The same revision of a loop is not handed
	// out twice to one process, except after Requeue. ErrClosed after the store
	// was closed.
	Ready(ctx context.Context) (id ID, rev uint64, err error)

	// Requeue makes Ready hand out the loop again although it did not change.
	Requeue(id ID)

	// Watch yields the head of loop id, or of every loop when id is empty,
	// each time it changed; first the present ones whose Rev is greater than
	// after. A slow reader sees the newest head of a loop, not each one. It
	// ends when ctx does, or with an error.
	Watch(ctx context.Context, id ID, after uint64) iter.Seq2[Head, error]

	// PutBlob stores data for loop id under its content hash, before a commit
	// that refers to it. Blobs go with their loop.
	PutBlob(ctx context.Context, id ID, data []byte) (ref string, err error)

	// Blob returns what PutBlob stored for the loop or, when it has no such blob,
	// for one that it pins. ErrNotFound, ErrDamaged.
	Blob(ctx context.Context, id ID, ref string) ([]byte, error)

	// Update changes the small record key that is kept beside the loops, by
	// compare-and-swap: what change returns replaces old, which is nil when
	// there is none. change is pure, keeps neither slice and does not call the
	// store: it is called again when somebody else was faster. Its error is
	// returned as it is, and nothing is stored. When Update returns nil the
	// change is durable and has been applied once, also when an acknowledgement
	// was lost on the way. A record is gone when nobody has changed it for
	// [RecordTTL]. See [CheckKey] and [MaxRecord]; ErrDamaged.
	Update(ctx context.Context, key string, change func(old []byte) ([]byte, error)) error
}

// Leased is what a [Store] has besides when its claims last only as long as this
// process shows others that it lives, as workers on several machines must.
type Leased interface {
	// Lease waits until this process may claim loops. It returns the name for
	// [Claim.Owner] and a context that ends when loops claimed under it may be
	// taken by others: whoever works on them has to stop then.
	Lease(ctx context.Context) (owner string, held context.Context, err error)
}

// Scanner is what a [Store] has besides when it can show thousands of heads
// without a copy of each.
type Scanner interface {
	// Scan calls each with every head that List would return. each neither keeps
	// nor changes it and does not call the store.
	Scan(ctx context.Context, each func(*Head)) error
}

// Ordered is what a [Store] has besides when it keeps loops in the order of
// [Engine.List], so that a page takes no look at all of them.
type Ordered interface {
	// Ascend calls each with the heads that come after a rank, in order, until it
	// returns false. each neither keeps nor changes the head and does not call the
	// store.
	Ascend(ctx context.Context, after Rank, each func(*Head) bool) error
}

// scan calls each with the heads of all loops. each keeps copies only.
func scan(ctx context.Context, s Store, each func(*Head)) error {
	if s, ok := s.(Scanner); ok {
		return s.Scan(ctx, each)
	}
	heads, err := s.List(ctx)
	for i := range heads {
		each(&heads[i])
	}
	return err
}

// Counter is what a [Store] has besides when it knows how many loops are live
// without a look at each.
type Counter interface {
	// CountLive returns how many of the heads that List would return are of live
	// loops. Roughly, it may count some more, when that is quicker, but none too
	// few.
	CountLive(ctx context.Context, roughly bool) (int, error)
}

// countLive is [Counter.CountLive] of any store.
func countLive(ctx context.Context, s Store, roughly bool) (live int, err error) {
	if s, ok := s.(Counter); ok {
		return s.CountLive(ctx, roughly)
	}
	err = scan(ctx, s, func(h *Head) {
		if !h.Status.Settled() {
			live++
		}
	})
	return live, err
}

// Recaller is what a [Store] has besides when it need not ask for a loop that this
// process has written last. [Engine] then loads through it as well as through Load: a
// store that embeds a Recaller and puts its own Load in the way needs its own LoadAt, or
// it is gone past.
type Recaller interface {
	// LoadAt is Load where the state at revision rev is as good as the current one:
	// for whoever does nothing but commit to it. It returns that state or, like Load,
	// the current one.
	LoadAt(ctx context.Context, id ID, rev uint64) (State, error)
}

// loadAt is [Recaller.LoadAt] of any store.
func loadAt(ctx context.Context, s Store, id ID, rev uint64) (State, error) {
	if s, ok := s.(Recaller); ok {
		return s.LoadAt(ctx, id, rev)
	}
	return s.Load(ctx, id)
}

// Committer is what a [Store] has besides when it need not copy a state, which is large,
// to commit it. Of hundreds of loops that commit at once each would wait with the copies.
// [Engine] then commits through it as well as through Commit: a store that embeds a
// Committer and puts its own Commit in the way needs its own CommitIn, or it is gone past.
type Committer interface {
	// CommitIn is Commit that leaves in s what it would return; on error s is as it was.
	CommitIn(ctx context.Context, s *State) error
}

// commitTo is [Committer.CommitIn] of any store.
func commitTo(ctx context.Context, to Store, s *State) error {
	if to, ok := to.(Committer); ok {
		return to.CommitIn(ctx, s)
	}
	return commitCopy(ctx, to, s)
}

// commitCopy has a large frame, which commitTo is to be without.
//
//go:noinline
func commitCopy(ctx context.Context, to Store, s *State) error {
	got, err := to.Commit(ctx, *s)
	if err == nil {
		*s = got
	}
	return err
}

// MaxRecord is how many bytes a record of [Store.Update] may have.
const MaxRecord = 64 << 10

// RecordTTL is how long a record of [Store.Update] is kept after its last change.
const RecordTTL = 40 * 24 * time.Hour

// maxKey is how many characters the key of a record may have.
const maxKey = 64

// CheckKey returns an error unless key can name a record of [Store.Update]: 1 to
// 64 of a-z, 0-9, hyphen and dot, each dot between two others.
func CheckKey(key string) error {
	if key == "" || len(key) > maxKey || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || slices.Contains(strings.Split(key, "."), "") {
		return &FieldError{Field: "key", Problem: fmt.Sprintf("must be 1 to %d of a-z, 0-9, - and dots between them, got %q", maxKey, key)}
	}
	return nil
}

// CheckRecord returns an error if data is too large for the record key.
func CheckRecord(key string, data []byte) error {
	if len(data) > MaxRecord {
		return &FieldError{Field: key, Problem: fmt.Sprintf("may have %d bytes, got %d", MaxRecord, len(data))}
	}
	return nil
}
