package stdio

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"testing"
	"time"

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

// BenchmarkEchoRatio calls an echo tool over both transports by turns, so that a busy machine slows
// down both, and reports the medians and their ratio.
func BenchmarkEchoRatio(b *testing.B) {
	ours := newEchoPeer(b, func(ctx context.Context, s *server.MCPServer, in io.Reader, out io.Writer) error {
		return Serve(ctx, s, in, out, nil)
	})
	theirs := newEchoPeer(b, func(ctx context.Context, s *server.MCPServer, in io.Reader, out io.Writer) error {
		stdio := server.NewStdioServer(s)
		stdio.SetErrorLogger(log.New(io.Discard, "", 0))
		return stdio.Listen(ctx, in, out)
	})
	var took [2][]time.Duration
	for i := range b.N {
		for n, p := range []*echoPeer{ours, theirs} {
			took[n] = append(took[n], p.call(b, i))
		}
	}
	for _, t := range took {
		slices.Sort(t)
	}
	a, c := took[0][b.N/2], took[1][b.N/2]
	b.ReportMetric(float64(a.Nanoseconds())/1000, "µs/ours-p50")
	b.ReportMetric(float64(c.Nanoseconds())/1000, "µs/mcp-go-p50")
	b.ReportMetric(float64(a)/float64(c), "x-mcp-go")
	b.ReportMetric(0, "ns/op")
}

// echoPeer is a client behind two real pipes.
type echoPeer struct {
	in  *os.File
	out *bufio.Reader
}

func newEchoPeer(b *testing.B, serve func(context.Context, *server.MCPServer, io.Reader, io.Writer) error) *echoPeer {
	b.Helper()
	serverIn, clientOut, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	clientIn, serverOut, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- serve(context.Background(), newServer(), serverIn, serverOut) }()
	b.Cleanup(func() {
		clientOut.Close()
		if err := <-served; err != nil {
			b.Error(err)
		}
		for _, f := range []*os.File{serverIn, serverOut, clientIn} {
			f.Close()
		}
	})
	return &echoPeer{in: clientOut, out: bufio.NewReader(clientIn)}
}

func (p *echoPeer) call(b *testing.B, i int) time.Duration {
	b.Helper()
	began := time.Now()
	if _, err := io.WriteString(p.in, callLine(fmt.Sprint(i), "echo", `{"text":"hello"}`, "")+"\n"); err != nil {
		b.Fatal(err)
	}
	if _, err := p.out.ReadSlice('\n'); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
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
