package kvstate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// box receives the answers of the server to the messages of one caller at a time.
// The reader of the connection puts them there itself, where the client library
// has one more goroutine between the two and several contexts: at two commits
// under way that is a tenth of what a commit takes of the processors.
type box struct {
	sub     *nats.Subscription
	inbox   string // with a dot at its end; a number of the message follows
	number  uint64
	answers chan *nats.Msg
}

// lateAnswers is how many answers that came too late a box holds until it is
// used again.
const lateAnswers = 16

// openBoxes makes a box for each message that may be under way, where that is few.
// A js that the caller has made something of sends its messages itself.
func (s *Store) openBoxes() error {
	plain, err := jetstream.New(s.nc)
	if err != nil || reflect.TypeOf(plain) != reflect.TypeOf(s.js) || s.posts.most > maxUnderWayUnsynced {
		return err
	}
	s.boxes = make(chan *box, s.posts.most+cap(s.turns)) // of commits and of messages beside them
	for range cap(s.boxes) {
		b := &box{inbox: s.nc.NewInbox() + ".", answers: make(chan *nats.Msg, lateAnswers)}
		if b.sub, err = s.nc.ChanSubscribe(b.inbox+"*", b.answers); err != nil {
			s.closeBoxes()
			return fmt.Errorf("subscribe to answers: %w", err)
		}
		s.boxes <- b
	}
	return nil
}

// closeBoxes ends what openBoxes began. Nothing is under way any more.
func (s *Store) closeBoxes() {
	for {
		select {
		case b := <-s.boxes:
			_ = b.sub.Unsubscribe() // else the connection has ended already
		default:
			return
		}
	}
}

// deliver sends m and returns the sequence under which the server stored it.
func (s *Store) deliver(ctx context.Context, m *nats.Msg) (uint64, error) {
	select {
	case b := <-s.boxes:
		defer func() { s.boxes <- b }()
		return b.deliver(ctx, s.nc, m)
	default: // there are none
	}
	ack, err := s.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

func (b *box) deliver(ctx context.Context, nc *nats.Conn, m *nats.Msg) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	b.number++
	reply := b.inbox + strconv.FormatUint(b.number, 36)
	if err := nc.PublishMsg(&nats.Msg{Subject: m.Subject, Reply: reply, Header: m.Header, Data: m.Data}); err != nil {
		return 0, err
	}
	for {
		select {
		case answer, open := <-b.answers:
			if !open {
				return 0, nats.ErrConnectionClosed
			}
			if answer.Subject == reply {
				return readAck(answer)
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// readAck reads the answer to one message, as the client library does.
func readAck(answer *nats.Msg) (uint64, error) {
	if len(answer.Data) == 0 && answer.Header.Get("Status") == "503" {
		return 0, jetstream.ErrNoStreamResponse
	}
	if seq, ok := plainAck(answer.Data); ok {
		return seq, nil
	}
	var ack struct {
		Error  *jetstream.APIError `json:"error"`
		Stream string              `json:"stream"`
		Seq    uint64              `json:"seq"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil || ack.Error == nil && ack.Stream == "" {
		return 0, jetstream.ErrInvalidJSAck
	}
	if ack.Error != nil {
		return 0, fmt.Errorf("nats: %w", ack.Error)
	}
	return ack.Seq, nil
}

// plainAck reads the usual answer as the server writes it, without package json.
func plainAck(data []byte) (seq uint64, ok bool) {
	rest, ok := bytes.CutPrefix(data, []byte(`{"stream":"`))
	if !ok {
		return 0, false
	}
	name, rest, ok := bytes.Cut(rest, []byte(`","seq":`))
	if !ok || len(name) == 0 || bytes.ContainsAny(name, "\"\\") || len(rest) < 2 || rest[0] == '0' {
		return 0, false
	}
	digits, ok := bytes.CutSuffix(rest, []byte("}"))
	if !ok || digits[0] < '0' || digits[0] > '9' {
		return 0, false
	}
	seq, err := strconv.ParseUint(string(digits), 10, 64)
	return seq, err == nil
}
