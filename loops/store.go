package loops

import (
	"context"
	"iter"
)

// Store keeps loops. All methods are safe for concurrent use. After a method
// returned without an error, what it did survives a crash of the process.
//
// Package loopstest holds the suite that every implementation passes.
type Store interface {
	// Runner names this process for [Claim.Owner]. A claim whose owner is
	// another name and whose process is gone counts as free.
	Runner() string

	// Create stores the first record of a loop and sets Rev. ErrExists when
	// the id is taken.
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

	// Blob returns what PutBlob stored. ErrNotFound, ErrDamaged.
	Blob(ctx context.Context, id ID, ref string) ([]byte, error)
}
