package remote_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops/remote"
	"github.com/nats-io/nats.go"
)

// raw is a handler that speaks the wire by hand, as one in another language
// would, and as badly as a test wants.
type raw struct {
	t      *testing.T
	nc     *nats.Conn
	offers chan *nats.Msg
}

// taken is a start that a raw handler was given.
type taken struct {
	r    *raw
	to   string
	key  string
	by   string
	call remote.Call
}

func (w *world) raw(name string) *raw {
	r := &raw{t: w.t, nc: w.connect(), offers: make(chan *nats.Msg, 16)}
	subscribe := func(subject, queue string, take nats.MsgHandler) {
		if _, err := r.nc.QueueSubscribe(subject, queue, take); err != nil {
			w.t.Fatal(err)
		}
	}
	subscribe("loop.handler.offer."+name, "handlers", func(m *nats.Msg) {
		select {
		case r.offers <- m:
		default: // nobody looks any more
		}
	})
	subscribe("loop.handler.ping."+name, "", func(m *nats.Msg) { r.publish(m.Reply, `{"v":1,"room":1}`) })
	synctest.Wait()
	return r
}

func (r *raw) publish(to, data string) {
	r.t.Helper()
	if err := r.nc.Publish(to, []byte(data)); err != nil && !r.nc.IsClosed() {
		r.t.Error(err)
	}
}

// next waits for an offer.
func (r *raw) next() taken {
	r.t.Helper()
	select {
	case m := <-r.offers:
		var o remote.Offer
		if err := json.Unmarshal(m.Data, &o); err != nil {
			r.t.Fatal(err)
		}
		return taken{r: r, to: m.Reply, key: o.Key, by: "me"}
	case <-time.After(time.Hour):
		r.t.Fatal("no start was offered")
	}
	return taken{}
}

// take waits for an offer and takes it.
func (r *raw) take() taken {
	r.t.Helper()
	k := r.next()
	a := k.say(`"type":"accept"`)
	if !a.OK || a.Call == nil || a.Call.Key != k.key {
		r.t.Fatalf("accept was answered with %+v", a)
	}
	k.call = *a.Call
	return k
}

// say sends a message of the start and returns its answer.
func (k taken) say(fields string) remote.Answer {
	k.r.t.Helper()
	return k.send(fmt.Sprintf(`{"v":1,"key":%q,"by":%q,%s}`, k.key, k.by, fields))
}

func (k taken) send(message string) remote.Answer {
	k.r.t.Helper()
	ctx, cancel := context.WithTimeout(k.r.t.Context(), 5*time.Second)
	defer cancel()
	m, err := k.r.nc.RequestWithContext(ctx, k.to, []byte(message))
	if err != nil {
		k.r.t.Fatalf("%s: %v", message, err)
	}
	var a remote.Answer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		k.r.t.Fatal(err)
	}
	return a
}
