package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// CopyFile is in the folder of a run on NATS servers: what was in the store.
const CopyFile = "store.json"

// Servers audits a run whose store is on NATS servers, all of which run while no
// process works on the store any more. It leaves [CopyFile], from which [Folder]
// audits the run again. Nodes are the names of the servers: each must have the
// same messages.
func Servers(ctx context.Context, dir, url string, nodes []string, opts Options) (Report, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return Report{}, err
	}
	defer nc.Close()
	s, err := readServers(ctx, nc)
	for try := 0; err != nil && try < 10; try++ { // servers that have just come up elect leaders
		if err := wait(ctx); err != nil {
			return Report{}, err
		}
		s, err = readServers(ctx, nc)
	}
	if err != nil {
		return Report{}, err
	}
	if err := s.save(dir); err != nil {
		return Report{}, err
	}
	r, err := audit(s, dir, opts)
	if err != nil {
		return r, err
	}
	for _, node := range nodes {
		problem, err := s.sameOn(ctx, nc, node)
		if err != nil {
			return r, fmt.Errorf("read what %s has: %w", node, err)
		}
		if problem != "" {
			r.Anomalies = append(r.Anomalies, node+": "+problem)
		}
	}
	return r, nil
}

// readServers reads all messages of all loops and all objects.
func readServers(ctx context.Context, nc *nats.Conn) (*store, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	s := &store{objects: map[string][]byte{}}
	if s.messages, err = readMessages(ctx, nc); err != nil {
		return nil, err
	}
	return s, s.readObjects(ctx, js)
}

// readMessages asks the leader for one message after the other. The consumers of
// readStore, one a message, are not yet known to each server when they are asked.
func readMessages(ctx context.Context, nc *nats.Conn) (messages []message, err error) {
	for next := uint64(1); ; {
		got, err := readFrom(ctx, nc, next)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", loopStream, err)
		}
		if got.Error != nil {
			if got.Error.Code != notFound || got.Error.Kind != noMessage {
				return nil, fmt.Errorf("read %s: %s", loopStream, got.Error.Description)
			}
			return messages, nil
		}
		h := nats.Header{}
		if len(got.Message.Headers) > 0 {
			if h, err = nats.DecodeHeadersMsg(got.Message.Headers); err != nil {
				return nil, err
			}
		}
		messages = append(messages, message{
			seq: got.Message.Seq, loop: strings.TrimPrefix(got.Message.Subject, loopSubject), text: h.Get("Loop-Head"), body: got.Message.Data,
			gone: h.Get("KV-Operation") != "" || h.Get("Nats-Marker-Reason") != "",
		})
		next = got.Message.Seq + 1
	}
}

// The error that says that no message follows.
const (
	notFound  = 404
	noMessage = 10037
)

// readFrom reads the first message from a sequence on, as the leader has it.
func readFrom(ctx context.Context, nc *nats.Conn, seq uint64) (got stored, err error) {
	return got, ask(ctx, nc, "$JS.API.STREAM.MSG.GET."+loopStream, map[string]any{"seq": seq, "next_by_subj": ">"}, &got)
}

// sameOn makes a node the leader of the stream of loops and says how what it has
// differs from s.
func (s *store) sameOn(ctx context.Context, nc *nats.Conn, node string) (string, error) {
	if err := lead(ctx, nc, node); err != nil {
		return "", err
	}
	return s.differs(ctx, nc)
}

// stored is the answer to a request for a message.
type stored struct {
	Error *struct {
		Code        int    `json:"code"`
		Kind        int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
	Message struct {
		Seq     uint64 `json:"seq"`
		Subject string `json:"subject"`
		Headers []byte `json:"hdrs"`
		Data    []byte `json:"data"`
	} `json:"message"`
}

// differs says how what the leader has differs from s. What a snapshot replaced
// may be left on one node and not on another, and means nothing.
func (s *store) differs(ctx context.Context, nc *nats.Conn) (string, error) {
	from := s.snapshots()
	is, err := readMessages(ctx, nc)
	if err != nil {
		return "", err
	}
	old := func(m message) bool { return m.seq < from[m.loop] }
	is, want := slices.DeleteFunc(is, old), slices.DeleteFunc(slices.Clone(s.messages), old)
	for i, m := range want {
		switch {
		case i >= len(is):
			return fmt.Sprintf("message %d of %s is missing", m.seq, m.loop), nil
		case is[i].seq != m.seq || is[i].loop != m.loop || is[i].gone != m.gone || is[i].text != m.text || !bytes.Equal(is[i].body, m.body):
			return fmt.Sprintf("message %d of %s stands where message %d of %s belongs", is[i].seq, is[i].loop, m.seq, m.loop), nil
		}
	}
	if more := is[len(want):]; len(more) > 0 {
		return fmt.Sprintf("message %d of %s is nowhere else", more[0].seq, more[0].loop), nil
	}
	return "", nil
}

// lead makes a node the leader and waits until it is.
func lead(ctx context.Context, nc *nats.Conn, node string) error {
	for range 100 {
		var info struct {
			Cluster struct {
				Leader string `json:"leader"`
			} `json:"cluster"`
		}
		if err := ask(ctx, nc, "$JS.API.STREAM.INFO."+loopStream, nil, &info); err == nil && info.Cluster.Leader == node {
			return nil
		}
		_ = ask(ctx, nc, "$JS.API.STREAM.LEADER.STEPDOWN."+loopStream, map[string]any{"placement": map[string]any{"preferred": node}}, &struct{}{})
		if err := wait(ctx); err != nil {
			return err
		}
	}
	return errors.New("it does not become the leader")
}

func wait(ctx context.Context) error {
	select {
	case <-time.After(time.Second):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func ask(ctx context.Context, nc *nats.Conn, subject string, question, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	data, err := json.Marshal(question)
	if err != nil {
		return err
	}
	if question == nil {
		data = nil
	}
	got, err := nc.RequestWithContext(ctx, subject, data)
	if err != nil {
		return err
	}
	return json.Unmarshal(got.Data, answer)
}

// copied is a store in [CopyFile].
type copied struct {
	Messages []copiedMessage
	Objects  map[string][]byte
}

type copiedMessage struct {
	Seq  uint64
	Loop string
	Text string
	Gone bool
	Body []byte
}

func (s *store) save(dir string) error {
	c := copied{Objects: s.objects}
	for _, m := range s.messages {
		c.Messages = append(c.Messages, copiedMessage{Seq: m.seq, Loop: m.loop, Text: m.text, Gone: m.gone, Body: m.body})
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, CopyFile), data, 0o600)
}

func readCopy(dir string) (*store, error) {
	data, err := os.ReadFile(filepath.Join(dir, CopyFile))
	if err != nil {
		return nil, err
	}
	var c copied
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	s := &store{objects: c.Objects}
	for _, m := range c.Messages {
		s.messages = append(s.messages, message{seq: m.Seq, loop: m.Loop, text: m.Text, gone: m.Gone, body: m.Body})
	}
	return s, nil
}
