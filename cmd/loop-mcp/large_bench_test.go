package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
	"github.com/nats-io/nats.go/jetstream"
)

var large = flag.Bool("large", false, "BenchmarkLargeStore has 100,000 loops, too")

// BenchmarkLargeStore starts the server on a store with many loops, most of them
// settled, and reports the time from the start of the process to the answer of
// the first loop_list, which opens the store; the median of the others; and the
// resident memory in the end. The store was closed properly; killed is after a
// SIGKILL.
func BenchmarkLargeStore(b *testing.B) {
	for _, many := range []int{10_000, 100_000} {
		if many > 10_000 && !*large {
			continue
		}
		b.Run(fmt.Sprintf("loops=%d", many), func(b *testing.B) { benchmarkLargeStore(b, many) })
	}
}

func benchmarkLargeStore(b *testing.B, many int) {
	home := filepath.Join(b.TempDir(), "state")
	fill(b, home, many)
	var opens, lists []float64
	b.ResetTimer()
	p := startOn(b, home)
	opens = append(opens, p.firstList(b))
	for range max(b.N, 5) {
		began := time.Now()
		p.list(b)
		lists = append(lists, milliseconds(began))
	}
	memory := residentMB(b, p.cmd.Process.Pid)
	if err := p.cmd.Process.Kill(); err != nil {
		b.Fatal(err)
	}
	_ = p.cmd.Wait() // it was killed
	p = startOn(b, home)
	killed := p.firstList(b)
	p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(median(opens), "ms/open")
	b.ReportMetric(killed, "ms/open-killed")
	b.ReportMetric(median(lists), "ms/loop_list-p50")
	b.ReportMetric(memory, "MB-RSS")
	b.ReportMetric(0, "ns/op")
}

// fill stores many loops, one in ten of them paused and the others completed.
func fill(b *testing.B, home string, many int) {
	b.Helper()
	h, err := embed.Start(b.Context(), embed.Options{Dir: home, Durability: embed.Process})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	js, err := jetstream.New(h.Conn())
	if err != nil {
		b.Fatal(err)
	}
	store, err := kvstate.Open(b.Context(), js, &kvstate.Options{Mark: filepath.Join(home, "marks")})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	next := make(chan int)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for n := range next {
				if err := fillOne(b.Context(), store, n); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for n := range many {
		next <- n
	}
	close(next)
	all.Wait()
}

func fillOne(ctx context.Context, store *kvstate.Store, n int) error {
	now := time.Now().UTC()
	s := loops.State{
		ID: loops.ID(fmt.Sprintf("fix-build-%06d", n)), Status: loops.Paused, Limits: loops.DefaultLimits(), UpdatedAt: now, Pass: 1,
		Pause: &loops.Pause{Reason: "client"}, Output: loops.Text{Text: "two tests fail", Size: 14},
		Origin: loops.Origin{Source: loops.SourceLibrary, CreatedAt: now, Spec: loops.Spec{Name: "fix-build", Goal: "Make go test ./... succeed at the cause of each failure.",
			Body: loops.BodySpec{Kind: loops.BodyClient}}},
	}
	if n%10 > 0 {
		s.Status, s.Pause = loops.Completed, nil
		s.Stop = &loops.Stop{Reason: loops.GoalClaimed, DecidedBy: "claim"}
	}
	_, err := store.Create(ctx, s)
	return err
}

// listing is a running server that is asked for lists.
type listing struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	lines   *bufio.Reader
	started time.Time
	id      int
}

func startOn(b *testing.B, home string) *listing {
	b.Helper()
	dir := b.TempDir()
	p := &listing{cmd: exec.Command(program)}
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), "LOOP_MCP_HOME="+home, "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "HOME="+dir)
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	p.lines, p.started = bufio.NewReader(out), time.Now()
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	p.ask(b, "initialize", `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}`)
	return p
}

func (p *listing) ask(b *testing.B, method, params string) (answer struct {
	Result struct {
		IsError           bool
		StructuredContent struct{ Items []struct{ Status string } }
	}
}) {
	b.Helper()
	p.id++
	fmt.Fprintf(p.in, `{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`+"\n", p.id, method, params)
	line, err := p.lines.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &answer)
	}
	if err != nil || answer.Result.IsError {
		b.Fatalf("%s: %s %v", method, line, err)
	}
	return answer
}

// list asks for the first page.
func (p *listing) list(b *testing.B) {
	b.Helper()
	answer := p.ask(b, "tools/call", `{"name":"loop_list","arguments":{}}`)
	if items := answer.Result.StructuredContent.Items; len(items) != 20 || items[0].Status != string(loops.Paused) {
		b.Fatalf("the list has %v", items)
	}
}

// firstList returns the milliseconds from the start of the process to the answer.
func (p *listing) firstList(b *testing.B) float64 {
	b.Helper()
	p.list(b)
	return milliseconds(p.started)
}
