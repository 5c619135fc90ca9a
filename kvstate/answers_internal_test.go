package kvstate

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestAnAnswerIsReadByHandAsPackageJSONReadsIt: what is not as usual is left to it.
func TestAnAnswerIsReadByHandAsPackageJSONReadsIt(t *testing.T) {
	for text, want := range map[string]uint64{
		`{"stream":"KV_LOOPS","seq":17}`:                   17,
		`{"stream":"KV_LOOPS","seq":18446744073709551615}`: 18446744073709551615,
		`{"stream":"KV_LOOPS","seq":18446744073709551616}`: 0,
		`{"stream":"KV_LOOPS", "seq":17}`:                  0,
		`{"stream":"KV_LOOPS","seq":17,"duplicate":true}`:  0,
		`{"stream":"KV_LOOPS","seq":}`:                     0,
		`{"stream":"KV_LOOPS","seq":+1}`:                   0,
		`{"stream":"KV_LOOPS","seq":01}`:                   0,
		`{"stream":"KV_LOOPS","seq":1`:                     0,
		`{"stream":"KV_LOOPS","seq":}}`:                    0,
		`{"stream":"","seq":1}`:                            0,
		`{"stream":"a\\","seq":1}`:                         0,
		`{"stream":"a", "domain":"hub","seq":1}`:           0,
		`{"error":{"code":400}}`:                           0,
		``:                                                 0,
	} {
		seq, ok := plainAck([]byte(text))
		if ok != (want != 0) || ok && seq != want {
			t.Errorf("%s: read as %d, %t", text, seq, ok)
		}
		var ack struct{ Seq uint64 }
		if err := json.Unmarshal([]byte(text), &ack); ok && (err != nil || ack.Seq != seq) {
			t.Errorf("%s: package json reads %d, %v", text, ack.Seq, err)
		}
	}
	if seq, err := readAck(&nats.Msg{Data: []byte(`{"stream":"a", "domain":"hub","seq":5}`)}); seq != 5 || err != nil {
		t.Errorf("an unusual one: %d, %v", seq, err)
	}
}

// TestTheServerAnswersAsItIsRead: else each answer takes the long way.
func TestTheServerAnswersAsItIsRead(t *testing.T) {
	c := newCrowd(t, 0, nil)
	m, err := c.nc.Request("$KV.LOOPS.answer-aaaa", nil, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := plainAck(m.Data); !ok {
		t.Errorf("the server says %s", m.Data)
	}
}
