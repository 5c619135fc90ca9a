package kvstate

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate/mark"
	"example.com/loop-mcp/loops"
)

const streamRecords = "KV_LOOPDATA"

func recordSubject(key string) string { return "$KV.LOOPDATA." + key }

func (s *Store) recordsConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: streamRecords, Description: "loops: small records beside them", Subjects: []string{recordSubject(">")},
		MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, AllowMsgTTL: true, AllowRollup: true, AllowDirect: true,
		Replicas: max(s.opts.Replicas, 1),
	}
}

// sideHeader is the message header beside the bytes of a record.
const sideHeader = "Loop-Record"

// side is a record of [Store.Update]. It names its last writes, so that whoever
// did not hear whether a write landed finds out, whatever others wrote since.
type side struct {
	Version int    `json:"v"`
	Number  uint64 `json:"n"` // of the writes so far
	Recent  string `json:"r"` // a random id for each of the last ones, the newest last
	Sum     string `json:"s"` // checksum of the data
	Crc     string `json:"crc"`

	data []byte // nil: there is none
	rev  uint64
}

const (
	sideVersion = 1 // the format of a record

	writeID    = 8   // characters
	keptWrites = 128 // ids that a record holds
)

// next returns the record after o, with a write id of its own.
func (o side) next(data []byte) side {
	recent := o.Recent + rand.Text()[:writeID]
	recent = recent[max(0, len(recent)-keptWrites*writeID):]
	return side{Version: sideVersion, Number: o.Number + 1, Recent: recent, Sum: checksum(data), data: data}
}

// crc is the checksum of what the header says about the record key.
func (o side) crc(key string) string {
	return checksum(fmt.Appendf(nil, "%s %d %d %s %s", key, o.Version, o.Number, o.Recent, o.Sum))
}

func (o side) message(key string, after uint64) *nats.Msg {
	o.Crc = o.crc(key)
	text, _ := json.Marshal(o) // numbers and texts: cannot fail
	return &nats.Msg{Subject: recordSubject(key), Data: o.data, Header: nats.Header{
		sideHeader:                            {string(text)},
		"Nats-Expected-Last-Subject-Sequence": {strconv.FormatUint(after, 10)},
		"Nats-TTL":                            {strconv.Itoa(int(loops.RecordTTL / time.Second))},
	}}
}

// Update implements [loops.Store].
func (s *Store) Update(ctx context.Context, key string, change func(old []byte) ([]byte, error)) error {
	var own error
	err := s.update(ctx, key, func(old []byte) (data []byte, err error) {
		data, own = change(old)
		return data, own
	})
	if own != nil {
		return own
	}
	if err != nil {
		return fmt.Errorf("update the record %s: %w", key, err)
	}
	return nil
}

func (s *Store) update(ctx context.Context, key string, change func(old []byte) ([]byte, error)) error {
	if err := loops.CheckKey(key); err != nil {
		return err
	}
	end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := s.records.ensure(ctx); err != nil {
		return err
	}
	select { // writers of one process would only be in each other's way
	case s.updates <- struct{}{}:
		defer func() { <-s.updates }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for {
		old, err := s.side(ctx, key)
		if err != nil {
			return err
		}
		data, err := change(bytes.Clone(old.data))
		if err == nil {
			err = loops.CheckRecord(key, data)
		}
		if err != nil {
			return err
		}
		if err = s.swap(ctx, key, old, old.next(bytes.Clone(data))); !errors.Is(err, loops.ErrConflict) {
			return err
		}
	}
}

// side reads the record key from where writes are decided.
func (s *Store) side(ctx context.Context, key string) (side, error) {
	acknowledged := s.acknowledged(recordMark(key))
	m, err := s.leader(ctx, streamRecords, getRequest{LastFor: recordSubject(key)})
	if m.seq < acknowledged && (err == nil || errors.Is(err, errNoRecord)) {
		if err := s.there(); err != nil {
			return side{}, err
		}
		return side{}, fmt.Errorf("%w: %w", &setBackError{m.seq, acknowledged}, loops.ErrDamaged)
	}
	if errors.Is(err, errNoRecord) || err == nil && marker(m.header) {
		return side{rev: m.seq}, nil
	}
	if errors.Is(err, errMangled) {
		err = fmt.Errorf("%w: %w", err, loops.ErrDamaged)
	}
	if err != nil {
		return side{}, err
	}
	var o side
	err = json.Unmarshal([]byte(m.header.Get(sideHeader)), &o)
	if err != nil || o.Version != sideVersion || o.Crc != o.crc(key) || o.Sum != checksum(m.data) {
		return side{}, fmt.Errorf("revision %d does not verify: %w", m.seq, loops.ErrDamaged)
	}
	o.data, o.rev = m.data, m.seq
	return o, nil
}

// swap replaces old by next and finds out whether that has happened.
// ErrConflict when old has been replaced by another one.
func (s *Store) swap(ctx context.Context, key string, old, next side) error {
	m := next.message(key, old.rev)
	expires := time.Now().Add(loops.RecordTTL).Unix()
	ctx, cancel := patient(ctx)
	defer cancel()
	ctx = asUrgent(ctx) // what was spent
	for try := 0; ; try++ {
		// gofail: var beforeRecord struct{}
		rev, err := s.try(ctx, m)
		// gofail: var afterRecord struct{}
		if err == nil {
			s.marks.Note(recordMark(key), mark.Mark{Rev: rev, Expires: expires})
			return nil
		}
		now, readErr := s.side(ctx, key)
		switch {
		case readErr != nil:
			return fmt.Errorf("the outcome is unknown: %w", errors.Join(readErr, err))
		case now.rev != old.rev:
			if err := now.has(next); err != nil {
				return err
			}
			s.marks.Note(recordMark(key), mark.Mark{Rev: now.rev, Expires: expires})
			return nil
		case final(err):
			return fmt.Errorf("the store refused the record: %w", err)
		}
		if err := s.again(ctx, try, err); err != nil {
			return fmt.Errorf("the store took no record: %w", err)
		}
	}
}

// has returns nil when the write mine is in the record, ErrConflict when another
// one has its number.
func (o side) has(mine side) error {
	id := mine.Recent[len(mine.Recent)-writeID:]
	since := int64(o.Number - mine.Number) // writes after it
	at := len(o.Recent) - writeID - int(since)*writeID
	switch {
	case since >= 0 && at >= 0 && o.Recent[at:at+writeID] == id:
		return nil
	case since >= 0 && at < 0:
		return errors.New("the outcome is unknown: too many others have written since")
	}
	return loops.ErrConflict
}
