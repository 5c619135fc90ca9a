package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/loops/loopstest/chaos/audit"
)

// A damaged record is one whose bytes changed after it was written and before the
// server took its own checksum, as memory that fails does it: only the record's
// checksum tells. Here its counter of starts is set back.

// endpoint is what endpoint.json says.
type endpoint struct {
	PID     int    `json:"pid"`
	Network string `json:"network"`
	Address string `json:"address"`
	Token   string `json:"token"`
}

func (w *world) endpoint() (e endpoint) {
	data, err := os.ReadFile(filepath.Join(w.dir, audit.DataFolder, "endpoint.json"))
	if err == nil {
		_ = json.Unmarshal(data, &e)
	}
	return e
}

// Dial connects to the host of the store.
func (e endpoint) Dial(string, string) (net.Conn, error) {
	return (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), e.Network, e.Address)
}

// SkipTLSHandshake tells the client that the connection never leaves the machine.
func (e endpoint) SkipTLSHandshake() bool { return true }

// damage damages some loops, one after the other.
func (w *world) damage(ctx context.Context) {
	random := w.random(1<<32 + 2)
	for n := 0; n < w.opts.Damage && pause(ctx, time.Duration(200+random.IntN(800))*time.Millisecond); {
		select {
		case <-w.done:
			return
		default:
		}
		if id, err := w.damageOne(ctx, random); err == nil {
			n++
			w.opts.Log("the newest record of %s is damaged", id)
		}
	}
}

var started = regexp.MustCompile(`"starts":([0-9]+)`)

// damageOne appends a damaged record to a loop that moves.
func (w *world) damageOne(ctx context.Context, random *rand.Rand) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	e := w.endpoint()
	nc, err := nats.Connect("nats://store", nats.SetCustomDialer(e), nats.Token(e.Token), nats.NoReconnect(), nats.Timeout(time.Second))
	if err != nil {
		return "", err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return "", err
	}
	bucket, err := js.Stream(ctx, "KV_LOOPS")
	if err != nil {
		return "", err
	}
	ids := w.acknowledged()
	if len(ids) == 0 {
		return "", errors.New("there is no loop")
	}
	id = ids[random.IntN(len(ids))]
	last, err := bucket.GetLastMsgForSubject(ctx, "$KV.LOOPS."+id)
	if err != nil {
		return "", err
	}
	m, err := damaged(last)
	if err != nil {
		return "", err
	}
	asked := time.Now().UnixNano()
	w.history.add(audit.Told{Op: audit.OpDamage, Loop: id, Asked: asked, Failed: "about to be"}) // the answer may be lost
	if _, err := js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(last.Sequence), jetstream.WithRetryAttempts(0)); err != nil {
		return "", err
	}
	w.history.add(audit.Told{Op: audit.OpDamage, Loop: id, Asked: asked})
	return id, nil
}

// damaged makes the record that follows last: the same state with fewer starts,
// and the checksum of what it was.
func damaged(last *jetstream.RawStreamMsg) (*nats.Msg, error) {
	text := last.Header.Get("Loop-Head")
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var h map[string]any
	if err := decoder.Decode(&h); err != nil {
		return nil, err
	}
	head, _ := h["h"].(map[string]any)
	lengths, _ := h["l"].([]any)
	if status := head["status"]; status != "running" || len(lengths) != 2 || h["ob"] != nil {
		return nil, fmt.Errorf("the loop is %v", status)
	}
	body := last.Data
	if h["c"] == true {
		var err error
		if body, err = s2.Decode(nil, body); err != nil {
			return nil, err
		}
	}
	n, _ := strconv.Atoi(fmt.Sprint(lengths[0]))
	state := body[:n]
	starts := started.FindStringSubmatch(text)
	if starts == nil || starts[1] < "3" || len(starts[1]) > 1 || strings.Contains(string(state), `"from":{`) {
		return nil, errors.New("its state is not one that can be changed in place")
	}
	whole := append(append([]byte{}, state...), "{}"...)
	if h["k"] == "snapshot" {
		h["k"], h["b"] = "delta", last.Sequence
	}
	h["p"], h["pn"], h["n"] = last.Sequence, h["n"], fmt.Sprintf("%016x", rand.Uint64())
	h["l"], h["s"] = []int{n, 2}, sum(whole)
	delete(h, "c")
	delete(h, "crc")
	delete(h, "x")
	data, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	data = data[:len(data)-1]
	changed := started.ReplaceAll(data, []byte(`"starts":1`)) // of the same length
	return &nats.Msg{Subject: last.Subject, Data: whole, Header: nats.Header{"Loop-Head": {string(changed) + `,"crc":"` + sum(data) + `"}`}}}, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(data []byte) string {
	return fmt.Sprintf("%08x%08x", crc32.Checksum(data, castagnoli), crc32.ChecksumIEEE(data))
}

func (w *world) acknowledged() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := make([]string, 0, len(w.known))
	for id := range w.known {
		ids = append(ids, id)
	}
	return ids
}
