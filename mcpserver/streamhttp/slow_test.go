package streamhttp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener in virtual time.
type pipes struct {
	next  chan net.Conn
	ended chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.next:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.ended); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p.next <- server
	return client, nil
}

// TestASlowClientIsCutOff: one that sends its header, or its body, byte by byte
// (slowloris) has ten and thirty seconds for it; others are served meanwhile, and
// nothing of it is held afterwards.
func TestASlowClientIsCutOff(t *testing.T) {
	const header = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: 1000\r\n"
	for name, test := range map[string]struct {
		sent   string // at once; after it a byte every second
		within time.Duration
	}{
		"header":             {header + "X-Slow: ", headerTimeout},
		"body":               {header + "Authorization: Bearer ann's token has 24 bytes\r\n\r\n{", bodyTimeout},
		"body of a stranger": {header + "\r\n{", bodyTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &pipes{next: make(chan net.Conn), ended: make(chan struct{})}
				h := New(newServer(), &Options{Tokens: map[string]string{"ann": "ann's token has 24 bytes"}})
				ctx, end := context.WithCancel(t.Context())
				served := make(chan error, 1)
				go func() { served <- h.Serve(ctx, l) }()
				slow, _ := l.dial(ctx, "", "")
				began := time.Now()
				cut := make(chan time.Duration, 1)
				go func() {
					_, err := io.WriteString(slow, test.sent)
					for ; err == nil; time.Sleep(time.Second) {
						_, err = io.WriteString(slow, "x")
					}
					cut <- time.Since(began)
				}()
				go func() { _, _ = io.Copy(io.Discard, slow) }()
				time.Sleep(5 * time.Second)
				w := &world{T: t, handler: h, url: "http://localhost/mcp", token: "ann's token has 24 bytes", client: &http.Client{Transport: &http.Transport{DialContext: l.dial}}}
				if got := w.ask(modernCall("1", "echo", `{"text":"x"}`)); got.status != http.StatusOK || time.Since(began) != 5*time.Second {
					t.Errorf("another client: %d after %s", got.status, time.Since(began))
				}
				if took := <-cut; took < test.within || took > test.within+2*time.Second {
					t.Errorf("it was cut off after %s", took)
				}
				synctest.Wait()
				if n, held := h.load.count(h.load.calls), h.load.bytes.Load(); n != 0 || held != 0 {
					t.Errorf("%d calls and %d bytes are held", n, held)
				}
				w.client.CloseIdleConnections()
				slow.Close()
				end()
				if err := <-served; !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		})
	}
}

// TestAThousandConnectionsHoldUpNobody: each has sent half a header.
func TestAThousandConnectionsHoldUpNobody(t *testing.T) {
	w := live(t, nil, nil)
	w.greet()
	before := heap()
	for range 1000 {
		conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprint(conn, "POST /mcp HTTP/1.1\r\nHost: loc"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		if got := w.ask(request{body: callBody(fmt.Sprint(i), "echo", `{"text":"x"}`, "")}); got.status != http.StatusOK {
			t.Errorf("%d %s", got.status, got.body)
		}
		if got := w.ask(modernCall(fmt.Sprint(i), "echo", `{"text":"x"}`)); got.status != http.StatusOK {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	if grown := heap() - before; grown > 32<<20 && !raceEnabled {
		t.Errorf("they take %d KB", grown>>10)
	} else {
		t.Logf("they take %d KB", grown>>10)
	}
	conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("a new connection: %v, %v", resp, err)
	}
}
