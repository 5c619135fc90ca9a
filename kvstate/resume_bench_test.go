package kvstate_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// resumeDir names the variable that makes the test binary a process that works on
// the loops in a folder.
const resumeDir = "KVSTATE_TEST_RESUME"

const resumed = 10 // loops

// resumeChild says of each start of a body which loop it belongs to, in one line,
// until it is killed. It starts the loops when there are none.
func resumeChild(dir string) error {
	ctx := context.Background()
	m, err := embed.Join(ctx, embed.Options{Dir: dir})
	if err != nil {
		return err
	}
	js, err := jetstream.New(m.Conn())
	if err != nil {
		return err
	}
	store, err := kvstate.Open(ctx, js, &kvstate.Options{Runner: m.Runner(), Alive: m.Alive, Mark: filepath.Join(dir, "marks"), Group: true})
	if err != nil {
		return err
	}
	body := loops.BodyFunc(func(ctx context.Context, t loops.Turn) (loops.Result, error) {
		fmt.Println(t.Loop)
		<-ctx.Done()
		return loops.Result{}, ctx.Err()
	})
	e := loops.New(store, loops.Parts{Handlers: map[string]loops.Body{"bench": body}}, nil)
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	heads, err := store.List(ctx)
	for n := len(heads); n < resumed && err == nil; n++ {
		_, err = e.Start(ctx, loops.StartRequest{Spec: loops.Spec{Name: "bench", Goal: "stay", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "bench"},
			Limits: loops.Limits{MaxIterations: 10_000, IterationTimeout: loops.Duration(time.Hour)}}})
	}
	if err != nil {
		return err
	}
	return <-ended
}

// BenchmarkResume kills a process that works on 10 loops and reports the time from
// the start of the next one until all of them run again.
func BenchmarkResume(b *testing.B) {
	dir := b.TempDir()
	killedAfterAll(b, dir)
	var took []time.Duration
	for range min(b.N, 50) {
		took = append(took, killedAfterAll(b, dir))
	}
	slices.Sort(took)
	b.ReportMetric(micros(took[len(took)/2])/1000, "ms/all-running-p50")
	b.ReportMetric(micros(took[len(took)-1])/1000, "ms/all-running-max")
	b.ReportMetric(0, "ns/op")
}

// killedAfterAll starts such a process, kills it when all loops run, and returns
// how long that took.
func killedAfterAll(b *testing.B, dir string) time.Duration {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), must[string](b)(os.Executable()), "-test.run=^$")
	cmd.Env = append(os.Environ(), resumeDir+"="+dir)
	cmd.Stderr = os.Stderr
	out := must[io.ReadCloser](b)(cmd.StdoutPipe())
	began := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	running := map[string]bool{}
	for lines := bufio.NewScanner(out); len(running) < resumed && lines.Scan(); {
		running[lines.Text()] = true
	}
	took := time.Since(began)
	if len(running) < resumed {
		b.Fatalf("only %d loops run", len(running))
	}
	if err := cmd.Process.Kill(); err != nil {
		b.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	return took
}
