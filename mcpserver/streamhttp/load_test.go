package streamhttp

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sync"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
)

// TestTwoHundredWaitsAtOnce cost little, and leave nothing behind.
func TestTwoHundredWaitsAtOnce(t *testing.T) {
	g, s := newGate()
	w := live(t, s, nil)
	w.greet()
	w.client.Transport.(*http.Transport).MaxIdleConnsPerHost = 300
	const waits = 200
	answers := make([]chan *http.Response, waits)
	before := heap()
	for i := range waits {
		q := request{body: callBody(fmt.Sprint(i), "gate", `{"name":"a"}`, `"progressToken":1`)}
		if i%2 == 1 {
			q = modernProgress(fmt.Sprint(i), "gate", `{"name":"a"}`, "1")
		}
		answers[i], _ = g.begin(w, q)
	}
	// Both ends of 200 connections are in this process: the client's part is in the sum.
	if grown := heap() - before; grown > 25<<20 {
		t.Errorf("200 waits take %d MB", grown>>20)
	}
	close(g.goOn)
	var reading sync.WaitGroup
	for _, answer := range answers {
		reading.Go(func() {
			resp := <-answer
			if resp == nil {
				t.Error("a wait has no answer")
				return
			}
			defer resp.Body.Close()
			if data, err := io.ReadAll(resp.Body); err != nil || len(parseSSE(string(data))) < 3 {
				t.Errorf("%v %s", err, data)
			}
		})
	}
	reading.Wait()
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestTenThousandRequests of both eras leave nothing behind.
func TestTenThousandRequests(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("takes long")
	}
	w := live(t, nil, nil)
	w.greet()
	var before int64
	for i := range 10_000 {
		if i == 1000 {
			before = heap()
		}
		q := request{body: callBody(fmt.Sprint(i), "echo", `{"text":"x"}`, "")}
		switch i % 4 {
		case 1:
			q = modernCall(fmt.Sprint(i), "echo", `{"text":"x"}`)
		case 2:
			q = request{body: initialize, header: map[string]string{headerSession: "", mcp.HeaderProtocolVersion: ""}}
		}
		got := w.ask(q)
		if got.status != http.StatusOK {
			t.Fatalf("%d: %d %s", i, got.status, got.body)
		}
		if i%4 == 2 {
			w.ask(request{http: "DELETE", header: map[string]string{headerSession: got.header.Get(headerSession)}})
		}
	}
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("the memory grew by %d KB", grown>>10)
	}
	if n := len(w.handler.sessions.all); n != 1 {
		t.Errorf("%d sessions are left", n)
	}
}
