package mcpserver_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/mcpserver"
	"example.com/loop-mcp/mcpserver/stdio"
	"github.com/nats-io/nats.go/jetstream"
)

// BenchmarkProgress measures the time from a stored iteration to the client
// that has read its progress notification: the embedded server, the engine, the
// meter and a pair of pipes are between the two. An iteration ends when the one
// before was reported and four notifications a second leave room for another.
func BenchmarkProgress(b *testing.B) {
	for _, durability := range []string{embed.Power, embed.Process} {
		b.Run("durability="+durability, func(b *testing.B) { benchmarkProgress(b, durability) })
	}
}

// breath is longer than the meter's pace.
const breath = 350 * time.Millisecond

func benchmarkProgress(b *testing.B, durability string) {
	next := make(chan struct{})
	store, e := storedEngine(b, durability, loops.BodyFunc(func(ctx context.Context, _ loops.Turn) (loops.Result, error) {
		select {
		case <-next:
			return loops.Result{Output: "not yet"}, nil
		case <-ctx.Done():
			return loops.Result{}, ctx.Err()
		}
	}))
	wire := connect(b, e)
	out, err := e.Start(b.Context(), loops.StartRequest{Spec: loops.Spec{Name: "bench", Goal: "go on",
		Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "bench"}, Limits: loops.Limits{MaxIterations: 10_000}}})
	if err != nil {
		b.Fatal(err)
	}
	var waited int
	var took []time.Duration
	ask := func() {
		waited++
		wire.send(b, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"loop_wait","arguments":{"loop_id":%q,"for":"settled","wait_seconds":50},"_meta":{"progressToken":"%d"}}}`,
			waited, out.ID, waited))
	}
	ask()
	for n := 1; n <= b.N; n++ {
		<-time.After(breath)
		next <- struct{}{}
		for {
			at, answered, progress := wire.next(b)
			if answered { // after 50 seconds
				ask()
			} else if int(progress) >= n {
				took = append(took, at.Sub(store.committed(b, n)))
				break
			}
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-p50")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
	b.ReportMetric(0, "ns/op") // the breaths
}

// timedStore tells when each commit was acknowledged. The engine commits through
// CommitIn, which it would find in the embedded store if it were not here.
type timedStore struct {
	*kvstate.Store
	commits chan commit // has room for what is committed between two looks
}

type commit struct {
	iteration int
	at        time.Time
}

func (s *timedStore) CommitIn(ctx context.Context, next *loops.State) error {
	err := s.Store.CommitIn(ctx, next)
	if err == nil {
		s.commits <- commit{next.Iteration, time.Now()}
	}
	return err
}

// committed is when the iteration's commit was acknowledged: after its notification
// was read, when that was faster than the worker.
func (s *timedStore) committed(b *testing.B, n int) time.Time {
	b.Helper()
	for {
		select {
		case c := <-s.commits:
			if c.iteration == n {
				return c.at
			}
		case <-time.After(10 * time.Second):
			b.Fatalf("no commit of iteration %d was seen: the engine commits past this store", n)
		}
	}
}

// storedEngine is an engine on the embedded server, in a folder of its own.
func storedEngine(b *testing.B, durability string, body loops.Body) (*timedStore, *loops.Engine) {
	b.Helper()
	host, err := embed.Start(b.Context(), embed.Options{Dir: filepath.Join(b.TempDir(), "store"), Durability: durability})
	if err != nil {
		b.Fatal(err)
	}
	js, err := jetstream.New(host.Conn())
	if err != nil {
		b.Fatal(err)
	}
	kept, err := kvstate.Open(b.Context(), js, nil)
	if err != nil {
		b.Fatal(err)
	}
	store := &timedStore{Store: kept, commits: make(chan commit, 1000)}
	e := loops.New(store, loops.Parts{Handlers: map[string]loops.Body{"bench": body}}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := kept.Close(); err != nil {
			b.Error(err)
		}
		if err := host.Close(); err != nil {
			b.Error(err)
		}
	})
	return store, e
}

// wire is a stdio client behind two real pipes.
type wire struct {
	in  io.Writer
	out *bufio.Reader
}

func connect(b *testing.B, e *loops.Engine) *wire {
	b.Helper()
	var files [4]*os.File
	for i := 0; i < 4; i += 2 {
		var err error
		if files[i], files[i+1], err = os.Pipe(); err != nil {
			b.Fatal(err)
		}
	}
	server := mcpserver.New(func(context.Context) (*loops.Engine, error) { return e, nil }, nil)
	served := make(chan error, 1)
	go func() { served <- stdio.Serve(context.Background(), server, files[0], files[3], nil) }()
	b.Cleanup(func() {
		files[1].Close()
		go io.Copy(io.Discard, files[2])
		if err := <-served; err != nil {
			b.Error(err)
		}
		for _, f := range files {
			f.Close()
		}
	})
	return &wire{in: files[1], out: bufio.NewReader(files[2])}
}

func (w *wire) send(b *testing.B, line string) {
	b.Helper()
	if _, err := io.WriteString(w.in, line+"\n"); err != nil {
		b.Fatal(err)
	}
}

// next returns when the next line came, and whether it is an answer, or the
// progress that it tells of.
func (w *wire) next(b *testing.B) (at time.Time, answered bool, progress float64) {
	b.Helper()
	line, err := w.out.ReadBytes('\n')
	at = time.Now()
	var m struct {
		ID     any
		Error  any
		Params struct{ Progress float64 }
	}
	if err == nil {
		err = json.Unmarshal(line, &m)
	}
	if err != nil || m.Error != nil {
		b.Fatalf("the server wrote %.300s: %v", line, err)
	}
	return at, m.ID != nil, m.Params.Progress
}
