package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
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
	s, err := readStore(ctx, nc)
	for try := 0; err != nil && try < 10; try++ { // servers that have just come up elect leaders
		if err = wait(ctx); err == nil {
			s, err = readStore(ctx, nc)
		}
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
		Description string `json:"description"`
	} `json:"error"`
	Message struct {
		Seq     uint64 `json:"seq"`
		Subject string `json:"subject"`
		Headers []byte `json:"hdrs"`
		Data    []byte `json:"data"`
	} `json:"message"`
}

// differs says how what the leader has differs from s.
func (s *store) differs(ctx context.Context, nc *nats.Conn) (string, error) {
	next := uint64(1)
	from := func() (got stored, err error) {
		return got, ask(ctx, nc, "$JS.API.STREAM.MSG.GET."+loopStream, map[string]any{"seq": next, "next_by_subj": ">"}, &got)
	}
	for _, m := range s.messages {
		got, err := from()
		if err != nil {
			return "", err
		}
		switch is := got.Message; {
		case got.Error != nil:
			return fmt.Sprintf("message %d of %s is missing: %s", m.seq, m.loop, got.Error.Description), nil
		case is.Seq != m.seq || is.Subject != loopSubject+m.loop || !bytes.Equal(is.Data, m.body) || !bytes.Contains(is.Headers, []byte(m.text)):
			return fmt.Sprintf("message %d of %s stands where message %d of %s belongs", is.Seq, is.Subject, m.seq, m.loop), nil
		}
		next = m.seq + 1
	}
	got, err := from()
	if err == nil && got.Error == nil {
		return fmt.Sprintf("message %d of %s is nowhere else", got.Message.Seq, got.Message.Subject), nil
	}
	return "", err
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
