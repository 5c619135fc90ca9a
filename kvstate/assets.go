package kvstate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/loops"
)

// The streams, in NATS's own naming: KV_ is a key-value bucket, OBJ_ an object
// store.
const (
	streamLoops    = "KV_LOOPS"
	streamRequests = "KV_LOOPREQ"
	bucketBlobs    = "LOOPBLOBS"
)

// markerTTL is how long the server tells newcomers that a loop is gone.
const markerTTL = time.Minute

// maxID bounds the id of a loop, in bytes.
const maxID = 128

// valid reports whether id can be the last token of a subject.
func valid(id loops.ID) bool {
	for _, c := range []byte(id) {
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return id != "" && len(id) <= maxID
}

func subject(id loops.ID) string { return "$KV.LOOPS." + string(id) }

func (s *Store) loopsConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: streamLoops, Description: "loops: one message per commit", Subjects: []string{subject(">")},
		// A loop's history is cut by snapshots only: nothing acknowledged is
		// ever dropped to make room.
		MaxMsgsPerSubject: 10 * maxDeltas, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true,
		AllowRollup: true, AllowDirect: true, DenyDelete: true,
		AllowMsgTTL: true, SubjectDeleteMarkerTTL: markerTTL, AllowAtomicPublish: s.opts.Group,
		Replicas: max(s.opts.Replicas, 1),
	}
}

func (s *Store) requestsConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: streamRequests, Description: "loops: request ids", Subjects: []string{requestSubject(">")},
		MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, AllowRollup: true, AllowDirect: true,
		Replicas: max(s.opts.Replicas, 1),
	}
}

func (s *Store) blobsConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: "OBJ_" + bucketBlobs, Description: "loops: large outputs and records",
		Subjects: []string{"$O." + bucketBlobs + ".C.>", "$O." + bucketBlobs + ".M.>"},
		Discard:  jetstream.DiscardNew, AllowRollup: true, AllowDirect: true,
		Replicas: max(s.opts.Replicas, 1),
	}
}

// stream is one that is made when it is needed first.
type stream struct {
	js     jetstream.JetStream
	config jetstream.StreamConfig
	store  *Store // whose disk it is on; nil: it is in memory
	mu     sync.Mutex
	made   bool
	found  jetstream.StreamConfig // as the server has it, once it is made
	size   uint64                 // messages that it had then
}

// newStream is what the files of a new stream take, in bytes, amply.
const newStream = 64 << 10

// ensure makes the stream if it is not there.
func (s *stream) ensure(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made {
		return nil
	}
	ctx, cancel := patient(ctx)
	defer cancel()
	for try := 0; ; try++ {
		err := s.make(ctx)
		if err == nil {
			s.made = true
			return nil
		}
		var api *jetstream.APIError
		if errors.As(err, &api) && (api.Code < 500 || refusals[api.ErrorCode] != "") || errors.Is(err, loops.ErrUnwritable) {
			return fmt.Errorf("make the stream %s: %w", s.config.Name, err)
		}
		wait := again
		if s.store != nil {
			wait = s.store.again
		}
		if err := wait(ctx, try, err); err != nil {
			return fmt.Errorf("make the stream %s: %w", s.config.Name, err)
		}
	}
}

// unmade returns what the disk has to do with a stream that the server could not
// make; nil: nothing, as far as it says.
func (s *stream) unmade(err error) error {
	var api *jetstream.APIError
	if s.store == nil || s.store.opts.Disk == nil || !errors.As(err, &api) || api.Code < 500 {
		return nil
	}
	if cause := s.store.opts.Disk.Try(); cause != nil {
		return &unwritable{cause}
	}
	return nil
}

// forget makes the next ensure look again.
func (s *stream) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made = false
}

func (s *stream) make(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	if s.store != nil {
		if full := s.store.room(ctx, newStream); full != nil {
			there, err := s.js.Stream(ctx, s.config.Name)
			if err != nil {
				return full
			}
			s.found, s.size = there.CachedInfo().Config, there.CachedInfo().State.Msgs
			return nil
		}
		var stop func()
		ctx, stop = s.store.answered(ctx)
		defer stop()
	}
	made, err := s.js.CreateStream(ctx, s.config)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, loops.ErrUnwritable) {
		return cause
	}
	if refused := s.unmade(err); refused != nil {
		return refused
	}
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		// Made with other settings, by another version or by the operator, who
		// may have reasons: it is used as it is if it can be.
		made, err = s.js.Stream(ctx, s.config.Name)
	}
	if err == nil {
		s.found, s.size = made.CachedInfo().Config, made.CachedInfo().State.Msgs
	}
	return inWords(err)
}

// apiPrefix returns the subject prefix of the JetStream API, with the dot.
func apiPrefix(js jetstream.JetStream) string {
	o := js.Options()
	switch {
	case o.APIPrefix != "":
		return strings.TrimSuffix(o.APIPrefix, ".") + "."
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	}
	return "$JS.API."
}
