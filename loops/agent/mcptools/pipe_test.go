package mcptools

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"example.com/loop-mcp/loops/agent"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

// FuzzPipe gives a client what a server might write.
func FuzzPipe(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":{}}` + "\n" + `{"id":1,"method":"ping"}` + "\n"))
	f.Add([]byte("{\"id\":null,\"error\":{}}\r\n\r\n[1]\n{\"method\":\"a\",\"params\":5}\n{\"id\":{},\"method\":\"a\"}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := newPipe(io.Discard, bytes.NewReader(data))
		p.SetNotificationHandler(func(mcp.JSONRPCNotification) {})
		waits, err := newFrame("x")
		if err != nil {
			t.Fatal(err)
		}
		p.waiting[mcp.NewRequestId(int64(1)).String()] = waits
		p.Start(t.Context())
		<-p.closed
		p.work.Wait()
		if p.fault != errEnded || len(p.said()) > maxGarbage {
			t.Errorf("it ended with %v and keeps %d bytes", p.fault, len(p.said()))
		}
	})
}

func TestTheLastWordsOfAServerCount(t *testing.T) {
	for _, end := range []string{"\n", "\r\n", ""} {
		p := newPipe(io.Discard, strings.NewReader(`{"jsonrpc":"2.0","id":1,"result":{"a":1}}`+end))
		waits, _ := newFrame("x")
		p.waiting[mcp.NewRequestId(int64(1)).String()] = waits
		p.Start(t.Context())
		p.work.Wait()
		select {
		case got := <-waits.response:
			if string(got.Result) != `{"a":1}` {
				t.Errorf("got %s", got.Result)
			}
		default:
			t.Errorf("an answer that ends with %q was lost", end)
		}
	}
}

// brokenWriter refuses every byte, as the pipe of a dead process does.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestARequestOfWhichNoByteWasWritten(t *testing.T) {
	out, hold := io.Pipe()
	defer hold.Close()
	p := newPipe(brokenWriter{}, out)
	p.Start(t.Context())
	ctx, noted := noting(context.Background())
	_, err := p.SendRequest(ctx, transport.JSONRPCRequest{ID: mcp.NewRequestId(int64(1)), Method: "tools/call"})
	if a := noted.look(); !errors.Is(err, errEnded) || a.sent {
		t.Errorf("got %v, sent %t", err, a.sent)
	}
	out.Close()
	p.work.Wait()
	if !errors.Is(notSent(err), agent.ErrNotSent) || !errors.Is(notSent(err), errEnded) {
		t.Error("the reasons are lost")
	}
}
