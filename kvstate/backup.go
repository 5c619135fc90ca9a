package kvstate

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
)

// A backup is a ZIP file. What is in it says nothing of where it came from, so
// one of an embedded store can be restored into a cluster and the other way round:
//
//	loops/ID.json        {"origin": …, "state": …, "journal": …}
//	blobs/ID/SHA256      what a loop keeps beside its records; ID may be gone when a fork of it is there
//	records.json         the records of Update, by key, in base64
//	requests.json        SHA-256 of a request id → loop
//	manifest.json        format, version, when, how many, and what was left out
//	SHA256SUMS           of all the others, for sha256sum -c
const (
	backupFormat  = "loop-mcp backup"
	backupVersion = 1

	manifestName = "manifest.json"
	recordsName  = "records.json"
	requestsName = "requests.json"
	sumsName     = "SHA256SUMS"
	loopsDir     = "loops/"
	blobsDir     = "blobs/"
)

// Manifest says what is in a backup.
type Manifest struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	At      time.Time `json:"created_at"`
	Loops   int       `json:"loops"`
	Blobs   int       `json:"blobs"`
	LeftOut []LeftOut `json:"left_out,omitempty"` // damaged loops
}

// LeftOut is a loop that is not in a backup.
type LeftOut struct {
	ID     loops.ID `json:"loop_id"`
	Reason string   `json:"reason"`
}

// saved is a loop in a backup.
type saved struct {
	Origin  json.RawMessage `json:"origin"`
	State   loops.State     `json:"state"`
	Journal journal         `json:"journal"`
}

// Backup writes a copy of all loops to w while the store is in use. Each loop is
// there as it was at one moment during the call, with everything that its state
// refers to; loops that others commit to meanwhile may be of different moments. A
// damaged loop is left out and named in the manifest. A request id or record that
// is damaged is an error. Without an error w is complete.
func (s *Store) Backup(ctx context.Context, w io.Writer) (Manifest, error) {
	m := Manifest{Format: backupFormat, Version: backupVersion, At: time.Now().UTC().Truncate(time.Second)}
	out := &packer{zip: zip.NewWriter(w), at: m.At, blobs: map[string]bool{}}
	if err := s.backup(ctx, out, &m); err != nil {
		return m, fmt.Errorf("back up the store: %w", err)
	}
	return m, nil
}

func (s *Store) backup(ctx context.Context, out *packer, m *Manifest) error {
	ids, err := s.loopIDs(ctx)
	if err != nil {
		return err
	}
	var index blobIndex
	for _, id := range ids {
		blobs, err := s.backupLoop(ctx, out, id, &index)
		switch {
		case errors.Is(err, loops.ErrDamaged):
			m.LeftOut = append(m.LeftOut, LeftOut{ID: id, Reason: err.Error()})
		case errors.Is(err, loops.ErrNotFound): // its time has come
		case err != nil:
			return fmt.Errorf("loop %s: %w", id, err)
		default:
			m.Loops++
			m.Blobs += blobs
		}
	}
	if err := s.backupBeside(ctx, out); err != nil {
		return err
	}
	if err := out.json(manifestName, m); err != nil {
		return err
	}
	return out.close()
}

// backupLoop adds one loop and returns how many blobs it has. When anything of it
// is damaged, nothing is added.
func (s *Store) backupLoop(ctx context.Context, out *packer, id loops.ID, index *blobIndex) (int, error) {
	w, err := s.whole(ctx, id)
	if err != nil {
		return 0, err
	}
	// Listed after the loop was read, so that whatever it refers to is there.
	if err := s.refresh(ctx, index); err != nil {
		return 0, err
	}
	added, err := s.backupBlobs(ctx, out, index.namesFor(w.loop))
	if err != nil {
		return 0, err
	}
	return added, out.json(loopsDir+string(id)+".json", saved{Origin: w.origin.raw, State: w.loop.State, Journal: w.journal})
}

// backupBlobs adds those that are not in the backup yet and returns how many.
func (s *Store) backupBlobs(ctx context.Context, out *packer, names []blobKey) (int, error) {
	names = slices.DeleteFunc(names, func(b blobKey) bool { return out.blobs[b.name()] })
	for _, b := range names {
		if _, err := s.Blob(ctx, b.id, b.ref); errors.Is(err, loops.ErrNotFound) {
			return 0, fmt.Errorf("%w: %w", loops.ErrDamaged, err)
		} else if err != nil {
			return 0, err
		}
	}
	for _, b := range names { // again, rather than to hold all of them
		data, err := s.Blob(ctx, b.id, b.ref)
		if err == nil {
			err = out.add(blobsDir+b.name(), data)
		}
		if err != nil {
			// Not ErrDamaged: half a loop is in the file.
			return 0, errors.New("blob " + b.ref + " was whole a moment ago: " + err.Error())
		}
		out.blobs[b.name()] = true
	}
	return len(names), nil
}

func (s *Store) backupBeside(ctx context.Context, out *packer) error {
	records := map[string][]byte{}
	err := s.besides(ctx, streamRecords, recordSubject(">"), func(m stored) error {
		key := strings.TrimPrefix(m.subject, recordSubject(""))
		o, err := s.side(ctx, key)
		if err == nil && o.data != nil && key != restoreRecord {
			records[key] = o.data
		}
		return err
	})
	if err != nil {
		return err
	}
	requests := map[string]loops.ID{}
	err = s.besides(ctx, streamRequests, requestSubject(">"), func(m stored) error {
		id, err := readBound(m)
		requests[strings.TrimPrefix(m.subject, requestSubject(""))] = id
		return err
	})
	if err != nil {
		return err
	}
	if err := out.json(recordsName, records); err != nil {
		return err
	}
	return out.json(requestsName, requests)
}

// packer writes the members of a backup and their checksums.
type packer struct {
	zip   *zip.Writer
	at    time.Time
	sums  strings.Builder
	blobs map[string]bool // that are in it
}

func (p *packer) json(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return p.add(name, data)
}

func (p *packer) add(name string, data []byte) error {
	fmt.Fprintf(&p.sums, "%x  %s\n", sha256.Sum256(data), name)
	return p.write(name, data)
}

func (p *packer) write(name string, data []byte) error {
	member, err := p.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: p.at})
	if err == nil {
		_, err = member.Write(data)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func (p *packer) close() error {
	if err := p.write(sumsName, []byte(p.sums.String())); err != nil {
		return err
	}
	return p.zip.Close()
}
