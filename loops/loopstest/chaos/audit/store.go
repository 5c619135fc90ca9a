package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	loopStream  = "KV_LOOPS"
	loopSubject = "$KV.LOOPS."
	blobBucket  = "LOOPBLOBS"
	patience    = 30 * time.Second
)

// message is a message of the stream of loops.
type message struct {
	seq  uint64
	loop string
	text string // its header Loop-Head
	gone bool   // it says that the loop is gone
	body []byte
}

// store is what a store holds.
type store struct {
	messages []message
	objects  map[string][]byte
}

// readFolder reads the store of a data folder from a copy of it.
func readFolder(ctx context.Context, data string) (*store, error) {
	dir, err := os.MkdirTemp("", "audit-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(filepath.Join(dir, "store"), os.DirFS(filepath.Join(data, "store"))); err != nil {
		return nil, fmt.Errorf("copy the store: %w", err)
	}
	srv, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: filepath.Join(dir, "store"), MaxPayload: 8 << 20})
	if err != nil {
		return nil, err
	}
	srv.Start()
	defer srv.WaitForShutdown()
	defer srv.Shutdown()
	if !srv.ReadyForConnections(patience) {
		return nil, errors.New("the server on the copy of the store does not start")
	}
	nc, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	return readStore(ctx, nc)
}

// readStore reads all messages of all loops.
func readStore(ctx context.Context, nc *nats.Conn) (*store, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, loopStream)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", loopStream, err)
	}
	s := &store{objects: map[string][]byte{}}
	last := stream.CachedInfo().State.LastSeq
	if stream.CachedInfo().State.Msgs > 0 {
		if err := s.readMessages(ctx, stream, last); err != nil {
			return nil, err
		}
	}
	return s, s.readObjects(ctx, js)
}

func (s *store) readMessages(ctx context.Context, stream jetstream.Stream, last uint64) error {
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	for {
		m, err := consumer.Next(jetstream.FetchMaxWait(patience))
		if err != nil {
			return fmt.Errorf("read %s: %w", loopStream, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		h := m.Headers()
		s.messages = append(s.messages, message{
			seq: meta.Sequence.Stream, loop: strings.TrimPrefix(m.Subject(), loopSubject), text: h.Get("Loop-Head"), body: m.Data(),
			gone: h.Get("KV-Operation") != "" || h.Get("Nats-Marker-Reason") != "",
		})
		if meta.Sequence.Stream >= last || meta.NumPending == 0 {
			return nil
		}
	}
}

// readObjects reads the parts of records that are too large for a message.
func (s *store) readObjects(ctx context.Context, js jetstream.JetStream) error {
	bucket, err := js.ObjectStore(ctx, blobBucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	list, err := bucket.List(ctx)
	if errors.Is(err, jetstream.ErrNoObjectsFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, info := range list {
		o, err := bucket.Get(ctx, info.Name)
		if err != nil {
			return fmt.Errorf("object %s: %w", info.Name, err)
		}
		data, err := io.ReadAll(o)
		if err := errors.Join(err, o.Close()); err != nil {
			return fmt.Errorf("object %s: %w", info.Name, err)
		}
		if info.Metadata["Loop-Packed"] == "s2" {
			if data, err = s2.Decode(nil, data); err != nil {
				return fmt.Errorf("object %s: %w", info.Name, err)
			}
		}
		s.objects[info.Name] = data
	}
	return nil
}

func (s *store) object(name string) ([]byte, error) {
	data, ok := s.objects[name]
	if !ok {
		return nil, errors.New("it is missing")
	}
	return data, nil
}
