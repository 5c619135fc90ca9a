package stdio

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"testing"

	"github.com/mark3labs/mcp-go/server"
)

// BenchmarkEcho measures a tool call over a pair of pipes, one at a time and 32 in flight, next to
// mcp-go's own transport.
func BenchmarkEcho(b *testing.B) {
	transports := []struct {
		name  string
		serve func(context.Context, *server.MCPServer, io.Reader, io.Writer) error
	}{
		{"ours", func(ctx context.Context, s *server.MCPServer, in io.Reader, out io.Writer) error {
			return Serve(ctx, s, in, out, nil)
		}},
		{"mcp-go", func(ctx context.Context, s *server.MCPServer, in io.Reader, out io.Writer) error {
			stdio := server.NewStdioServer(s)
			stdio.SetErrorLogger(log.New(io.Discard, "", 0))
			return stdio.Listen(ctx, in, out)
		}},
	}
	for _, transport := range transports {
		for _, inFlight := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s/inflight=%d", transport.name, inFlight), func(b *testing.B) {
				benchmarkEcho(b, inFlight, transport.serve)
			})
		}
	}
}

func benchmarkEcho(b *testing.B, inFlight int, serve func(context.Context, *server.MCPServer, io.Reader, io.Writer) error) {
	serverIn, clientOut, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	clientIn, serverOut, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- serve(b.Context(), newServer(), serverIn, serverOut) }()

	answers := bufio.NewReader(clientIn)
	places := make(chan struct{}, inFlight)
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		for i := range b.N {
			places <- struct{}{}
			_, _ = io.WriteString(clientOut, callLine(fmt.Sprint(i), "echo", `{"text":"hello"}`, "")+"\n")
		}
	}()
	for range b.N {
		if _, err := answers.ReadSlice('\n'); err != nil {
			b.Fatal(err)
		}
		<-places
	}
	b.StopTimer()
	clientOut.Close()
	if err := <-served; err != nil {
		b.Error(err)
	}
	for _, f := range []*os.File{serverIn, serverOut, clientIn} {
		f.Close()
	}
}
