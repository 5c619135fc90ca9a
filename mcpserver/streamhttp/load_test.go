package streamhttp

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mark3labs/mcp-go/mcp"
)

// TestTwoHundredWaitsAtOnce cost some 65 KB each, of which 10 are the buffers of net/http and 36 the
// stacks of four goroutines, and each has its answer.
func TestTwoHundredWaitsAtOnce(t *testing.T) {
	g, s := newGate()
	w := live(t, s, nil)
	w.greet()
	const waits = 200
	conns := make([]net.Conn, waits) // which cost next to nothing at this end
	before := heap()
	for i := range waits {
		q := request{body: callBody(fmt.Sprint(i), "gate", `{"name":"a"}`, `"progressToken":1`)}
		if i%2 == 1 {
			q = modernProgress(fmt.Sprint(i), "gate", `{"name":"a"}`, "1")
		}
		conns[i] = w.raw(q)
		<-g.began
	}
	if grown := heap() - before; grown > 16<<20 && !raceEnabled {
		t.Errorf("200 waits take %d KB", grown>>10)
	} else {
		t.Logf("200 waits take %d KB", grown>>10)
	}
	close(g.goOn)
	for i, conn := range conns {
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(resp.Body)
		if got := (said{header: resp.Header, events: parseSSE(string(data))}).summaries(); err != nil || !cmp.Equal(got, []string{"1 1", "1 2", fmt.Sprintf("%d: a", i)}) {
			t.Errorf("%v %q", err, got)
		}
	}
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
