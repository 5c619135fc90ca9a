package kvstate

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"example.com/loop-mcp/loops"
)

// ErrNotEmpty is returned by [Store.Restore] for a store that has loops.
var ErrNotEmpty = errors.New("the store has loops already: restore into an empty one")

// maxMember bounds a member of a backup, in bytes.
const maxMember = 1 << 30

// Restore puts the loops of a backup into the store, which must be empty. The
// whole file is verified first, and a problem names the member that has it:
// until then nothing is written. What is cut off later leaves the store with some
// of the loops; Restore with the same file goes on where it ended, whatever became
// of those meanwhile. Loops that were being worked on go on as after a crash. The
// retention of settled loops begins anew.
func (s *Store) Restore(ctx context.Context, file io.ReaderAt, size int64) (Manifest, error) {
	b, err := openBackup(file, size)
	if err != nil {
		return Manifest{}, fmt.Errorf("read the backup: %w", err)
	}
	if err := b.check(ctx); err != nil {
		return b.manifest, fmt.Errorf("read the backup: %w", err)
	}
	heads, err := s.List(ctx)
	if err == nil {
		err = s.beginRestore(ctx, b, len(heads) == 0)
	}
	if err == nil {
		if err = s.restore(ctx, b, heads); err != nil {
			err = fmt.Errorf("%w; it is cut off: restore the same file again, and it goes on there", err)
		}
	}
	if err != nil {
		return b.manifest, fmt.Errorf("restore: %w", err)
	}
	return b.manifest, nil
}

// restoreRecord names the record beside the loops that says which backup is being
// restored; empty: none.
const restoreRecord = "restore"

// beginRestore notes which backup is restored. A store that has loops must have
// them from a restore of the same one.
func (s *Store) beginRestore(ctx context.Context, b *backup, empty bool) error {
	return s.Update(ctx, restoreRecord, func(old []byte) ([]byte, error) {
		if !empty && string(old) != b.sum {
			return nil, ErrNotEmpty
		}
		return []byte(b.sum), nil
	})
}

// backup is an open backup file.
type backup struct {
	sum      string // of all checksums
	members  map[string]*zip.File
	manifest Manifest
	loops    []loops.ID
	blobs    map[loops.ID][]string
	records  map[string][]byte
	requests map[string]loops.ID
}

func openBackup(file io.ReaderAt, size int64) (*backup, error) {
	in, err := zip.NewReader(file, size)
	if err != nil {
		return nil, fmt.Errorf("it is not a whole backup file: %w", err)
	}
	b := &backup{members: map[string]*zip.File{}, blobs: map[loops.ID][]string{}}
	for _, member := range in.File {
		if b.members[member.Name] != nil {
			return nil, fmt.Errorf("%s is in it twice", member.Name)
		}
		b.members[member.Name] = member
	}
	if err := b.decode(manifestName, &b.manifest); err != nil {
		return nil, err
	}
	if m := b.manifest; m.Format != backupFormat || m.Version != backupVersion {
		return nil, fmt.Errorf("%s: the format is %q, version %d; this program reads %q, version %d", manifestName, m.Format, m.Version, backupFormat, backupVersion)
	}
	return b, nil
}

// read returns a member.
func (b *backup) read(name string) ([]byte, error) {
	member := b.members[name]
	if member == nil {
		return nil, fmt.Errorf("%s is missing", name)
	}
	in, err := member.Open()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	data, err := io.ReadAll(io.LimitReader(in, maxMember+1))
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", name, err)
	}
	if len(data) > maxMember {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxMember)
	}
	return data, nil
}

func (b *backup) decode(name string, v any) error {
	data, err := b.read(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s cannot be read: %w", name, err)
	}
	return nil
}

// check verifies every member, and that none is missing or unknown.
func (b *backup) check(ctx context.Context) error {
	sums, err := b.read(sumsName)
	if err != nil {
		return err
	}
	b.sum = fmt.Sprintf("%x", sha256.Sum256(sums))
	unseen := maps.Clone(b.members)
	delete(unseen, sumsName)
	for line := range strings.Lines(string(sums)) {
		sum, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		data, err := b.read(name)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if sum != fmt.Sprintf("%x", sha256.Sum256(data)) {
			return fmt.Errorf("%s is damaged: its checksum is not the one in %s", name, sumsName)
		}
		if err := b.sort(name, data); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		delete(unseen, name)
	}
	if len(unseen) > 0 {
		return fmt.Errorf("%s is not in %s", slices.Min(slices.Collect(maps.Keys(unseen))), sumsName)
	}
	if err := b.decode(recordsName, &b.records); err != nil {
		return err
	}
	if err := b.decode(requestsName, &b.requests); err != nil {
		return err
	}
	for _, id := range b.loops {
		if _, _, err := b.loop(id); err != nil {
			return err
		}
	}
	if len(b.loops) != b.manifest.Loops {
		return fmt.Errorf("%s says %d loops, there are %d", manifestName, b.manifest.Loops, len(b.loops))
	}
	return nil
}

// sort notes what a member is.
func (b *backup) sort(name string, data []byte) error {
	id, isLoop := strings.CutPrefix(name, loopsDir)
	of, isBlob := strings.CutPrefix(name, blobsDir)
	switch {
	case name == manifestName || name == recordsName || name == requestsName:
	case isLoop:
		id, isLoop = strings.CutSuffix(id, ".json")
		if !isLoop || !valid(loops.ID(id)) {
			return errors.New("it does not name a loop")
		}
		b.loops = append(b.loops, loops.ID(id))
	case isBlob:
		id, ref, _ := strings.Cut(of, "/")
		if !valid(loops.ID(id)) || reference(data) != ref {
			return errors.New("it does not name its loop and its content")
		}
		b.blobs[loops.ID(id)] = append(b.blobs[loops.ID(id)], ref)
	default:
		return errors.New("nothing of that name belongs into a backup")
	}
	return nil
}

// loop reads a loop and verifies that it is whole.
func (b *backup) loop(id loops.ID) (saved, *knownOrigin, error) {
	name := loopsDir + string(id) + ".json"
	var one saved
	if err := b.decode(name, &one); err != nil {
		return one, nil, err
	}
	o, err := newOrigin(one.Origin)
	one.State.Origin = deepCopy(&o.value)
	if err == nil && one.State.ID != id {
		err = fmt.Errorf("it is the loop %q", one.State.ID)
	}
	var l loops.Loop
	if err == nil {
		l, err = one.Journal.loop(one.State)
	}
	if err != nil {
		return one, nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, ref := range texts(l) {
		if !slices.ContainsFunc(append([]loops.ID{id}, l.Origin.Pins...), func(of loops.ID) bool { return slices.Contains(b.blobs[of], ref) }) {
			return one, nil, fmt.Errorf("%s refers to %s, which is missing", name, blobsDir+string(id)+"/"+ref)
		}
	}
	return one, o, nil
}

// restore writes the records before the loops, which spend as soon as they are
// there. When an earlier restore was cut off, some loops are, and all records.
func (s *Store) restore(ctx context.Context, b *backup, there []loops.Head) error {
	if len(there) == 0 {
		for _, key := range slices.Sorted(maps.Keys(b.records)) {
			if err := s.Update(ctx, key, func([]byte) ([]byte, error) { return b.records[key], nil }); err != nil {
				return err
			}
		}
	}
	restored := map[loops.ID]bool{} // the blobs of these
	for _, id := range b.loops {
		if slices.ContainsFunc(there, func(h loops.Head) bool { return h.ID == id }) {
			continue
		}
		if err := s.restoreBlobs(ctx, b, id, restored); err != nil {
			return err
		}
		if err := s.restoreLoop(ctx, b, id); err != nil {
			return fmt.Errorf("loop %s: %w", id, err)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(b.requests)) {
		if !isReference(key) {
			return fmt.Errorf("%s: %q is no hash of a request id", requestsName, key)
		}
		if _, err := s.reserve(ctx, requestSubject(key), b.requests[key]); err != nil {
			return fmt.Errorf("the request of %s: %w", b.requests[key], err)
		}
	}
	return s.Update(ctx, restoreRecord, func([]byte) ([]byte, error) { return nil, nil })
}

// restoreBlobs writes the blobs that a loop may refer to, unless they are there.
func (s *Store) restoreBlobs(ctx context.Context, b *backup, id loops.ID, restored map[loops.ID]bool) error {
	one, _, err := b.loop(id)
	if err != nil {
		return err
	}
	for _, of := range append([]loops.ID{id}, one.State.Origin.Pins...) {
		if restored[of] {
			continue
		}
		for _, ref := range b.blobs[of] {
			data, err := b.read(blobsDir + blobName(of, ref))
			if err == nil {
				_, err = s.PutBlob(ctx, of, data)
			}
			if err != nil {
				return err
			}
		}
		restored[of] = true
	}
	return nil
}

// restoreLoop writes a loop as one record with its whole journal.
func (s *Store) restoreLoop(ctx context.Context, b *backup, id loops.ID) error {
	end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	one, o, err := b.loop(id)
	if err != nil {
		return err
	}
	st := one.State
	st.Rev, st.New = 0, loops.Delta{}
	if err := s.checkMemory(&st, values{}); err != nil {
		return err
	}
	w, err := s.snapshot(&st, one.Journal, &header{}, o)
	if err == nil {
		_, err = s.store(ctx, w, 0)
	}
	return err
}
