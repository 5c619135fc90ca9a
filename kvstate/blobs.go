package kvstate

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// blobs is the object store. Objects are named "<loop id>/<what>".
type blobs struct {
	js      jetstream.JetStream
	publish func(context.Context, *nats.Msg) (uint64, error)
	batch   func(ctx context.Context, stream, subject string, seq uint64, each func(stored) error) error
	direct  func(ctx context.Context, stream string, r getRequest) (stored, error)
	stream  stream
	mu      sync.Mutex
	handle  jetstream.ObjectStore
	doubt   int // tries before what is not there is believed to be missing
}

var (
	errNoObject = errors.New("no such object")
	errBroken   = errors.New("it does not verify")
)

// chunkSize is how much of an object is one message: the server syncs each.
const chunkSize = 512 << 10

// chunkSubjects is where the chunks of objects are, by their number.
const chunkSubjects = "$O." + bucketBlobs + ".C."

// packedMark is the header of objects that are stored compressed.
const packedMark = "Loop-Packed"

func (b *blobs) open(ctx context.Context) (jetstream.ObjectStore, error) {
	if err := b.stream.ensure(ctx); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.handle == nil {
		handle, err := b.js.ObjectStore(ctx, bucketBlobs)
		if err != nil {
			return nil, fmt.Errorf("open the object store: %w", err)
		}
		b.handle = handle
	}
	return b.handle, nil
}

// put stores data under a name that has no other content.
func (b *blobs) put(ctx context.Context, name string, data []byte) error {
	ctx, cancel := patient(ctx)
	defer cancel()
	objects, err := b.open(ctx)
	if err != nil {
		return err
	}
	if _, err := objects.GetInfo(ctx, name); err == nil {
		return nil
	}
	meta := jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunkSize}}
	if packed := s2.Encode(nil, data); len(packed) < len(data)-len(data)/8 {
		data, meta.Metadata = packed, map[string]string{packedMark: "s2"}
	}
	if err := b.write(ctx, meta, data); err != nil {
		return fmt.Errorf("store the object %s: %w", name, err)
	}
	return nil
}

// write publishes the messages of an object as [jetstream.ObjectStore] reads
// them (ADR-20): the chunks, then what they are. Its own Put publishes
// asynchronously, and the goroutine that it starts for that can read a channel
// which the end of Put has cleared: it then waits for ever.
func (b *blobs) write(ctx context.Context, meta jetstream.ObjectMeta, data []byte) error {
	info := jetstream.ObjectInfo{ObjectMeta: meta, Bucket: bucketBlobs, NUID: rand.Text(), Size: uint64(len(data))}
	sum := sha256.New()
	for chunk := range slices.Chunk(data, chunkSize) {
		if _, err := b.publish(ctx, &nats.Msg{Subject: chunkSubjects + info.NUID, Data: chunk}); err != nil {
			return err // the chunks so far are nobody's: swept later
		}
		_, _ = sum.Write(chunk) // a hash takes everything
		info.Chunks++
	}
	info.Digest = jetstream.GetObjectDigestValue(sum)
	text, err := json.Marshal(info)
	if err != nil {
		return err
	}
	m := nats.NewMsg(metaSubject(meta.Name))
	m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	m.Data = text
	_, err = b.publish(ctx, m)
	return err
}

// get returns what put stored under the first of the names that there is.
// errNoObject when there is none, errBroken when it does not verify. Servers in trouble are asked again, and of several that have
// each record one may be behind, so that it takes b.doubt tries to believe either.
func (b *blobs) get(ctx context.Context, names ...string) ([]byte, error) {
	ctx, cancel := patient(ctx)
	defer cancel()
	for try := 0; ; try++ {
		data, err := b.getFirst(ctx, names)
		final := errors.Is(err, errNoObject) || spoilt(err)
		if err == nil || ctx.Err() != nil || final && try >= b.doubt {
			return data, err
		}
		if err := again(ctx, try, err); err != nil {
			return nil, err
		}
	}
}

func (b *blobs) getFirst(ctx context.Context, names []string) (data []byte, err error) {
	err = errNoObject
	for _, name := range names {
		if data, err = b.getOnce(ctx, name); !errors.Is(err, errNoObject) {
			return data, err
		}
	}
	return nil, err
}

// getOnce reads the messages itself: an [jetstream.ObjectStore] waits for chunks
// that are lost, and then says only that it has waited; and it does not tell a
// message that is damaged from a server that does not answer.
func (b *blobs) getOnce(ctx context.Context, name string) ([]byte, error) {
	info, err := b.about(ctx, name)
	if errors.Is(err, errNoObject) {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("read the object %s: %w", name, err)
	}
	var data []byte
	sum := sha256.New()
	err = b.batch(ctx, "OBJ_"+bucketBlobs, chunkSubjects+info.NUID, 1, func(m stored) error {
		data = append(data, m.data...)
		_, _ = sum.Write(m.data) // a hash takes everything
		return nil
	})
	if err == nil && (uint64(len(data)) != info.Size || jetstream.GetObjectDigestValue(sum) != info.Digest) {
		err = errBroken
	}
	if err == nil && info.Metadata[packedMark] != "" {
		if data, err = s2.Decode(nil, data); err != nil {
			err = fmt.Errorf("%w: %w", errBroken, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the object %s: %w", name, err)
	}
	return data, nil
}

// about returns what an object is. errNoObject when there is none.
func (b *blobs) about(ctx context.Context, name string) (info jetstream.ObjectInfo, err error) {
	if err := b.stream.ensure(ctx); err != nil {
		return info, err
	}
	m, err := b.direct(ctx, "OBJ_"+bucketBlobs, getRequest{LastFor: metaSubject(name)})
	switch {
	case errors.Is(err, errNoRecord):
		return info, errNoObject
	case err != nil:
		return info, err
	}
	if err := json.Unmarshal(m.data, &info); err != nil {
		return info, fmt.Errorf("%w: what it is can't be read: %w", errBroken, err)
	}
	if info.Deleted {
		return info, errNoObject
	}
	return info, nil
}

// list returns all objects, up to the first one that can't be read: then the error
// is errMangled. It reads them itself for the same reason as getOnce.
func (b *blobs) list(ctx context.Context) (all []jetstream.ObjectInfo, err error) {
	err = b.batch(ctx, "OBJ_"+bucketBlobs, metaSubjects+">", 1, func(m stored) error {
		info := jetstream.ObjectInfo{ModTime: m.at}
		if err := json.Unmarshal(m.data, &info); err != nil {
			return fmt.Errorf("%w: what an object is can't be read: %w", errMangled, err)
		}
		if info.ModTime = m.at; !info.Deleted {
			all = append(all, info)
		}
		return nil
	})
	return all, err
}

// names returns the names of all objects, of those that can't be read, too.
func (b *blobs) names(ctx context.Context) (names []string, err error) {
	all, err := b.list(ctx)
	for _, info := range all {
		names = append(names, info.Name)
	}
	if !errors.Is(err, errMangled) {
		return names, err
	}
	there, err := b.js.Stream(ctx, "OBJ_"+bucketBlobs)
	if err != nil {
		return nil, err
	}
	info, err := there.Info(ctx, jetstream.WithSubjectFilter(metaSubjects+">"))
	if err != nil {
		return nil, err
	}
	names = nil
	for subject := range info.State.Subjects {
		name, err := base64.URLEncoding.DecodeString(strings.TrimPrefix(subject, metaSubjects))
		if err != nil {
			continue // nothing that put stored
		}
		if _, err := b.about(ctx, string(name)); err == nil || spoilt(err) {
			names = append(names, string(name))
		} else if !errors.Is(err, errNoObject) {
			return nil, err
		}
	}
	return names, nil
}

const metaSubjects = "$O." + bucketBlobs + ".M."

// metaSubject is where the message is that says what an object is.
func metaSubject(name string) string {
	return metaSubjects + base64.URLEncoding.EncodeToString([]byte(name))
}

// spoilt reports whether an error of get says that what is stored is not what put
// stored. Any other one is the store's, and passes.
func spoilt(err error) bool {
	return errors.Is(err, errBroken) || errors.Is(err, errMangled) || errors.Is(err, s2.ErrCorrupt)
}

// remove deletes an object; one that is gone already is no error.
func (b *blobs) remove(ctx context.Context, name string) error {
	objects, err := b.open(ctx)
	if err == nil {
		err = objects.Delete(ctx, name)
	}
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil
	}
	return err
}
