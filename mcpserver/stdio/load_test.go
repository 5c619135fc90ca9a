package stdio

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/mcpserver/internal/rpc"
	"github.com/mark3labs/mcp-go/mcp"
)

// TestBusy: with every place taken a request is refused under its id, cancellations are read, and a
// place that gets free is used.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPeer(t, newServer(), nil)
		var lines []string
		for i := range defaultMaxInFlight {
			lines = append(lines, callLine(fmt.Sprint(i), "wait", "{}", ""))
		}
		checkSummaries(t, p.send(lines...))
		start := time.Now()
		p.write(strings.Repeat(pingLine(`"x"`)+"\n", 100) + cancelLine("5") + "\n" + pingLine(`"y"`) + "\n")
		<-time.After(patience)
		got := p.answers()
		if len(got) != 101 {
			t.Fatalf("%d replies, want 101", len(got))
		}
		checkSummaries(t, got[99:], fmt.Sprintf(`"x": %d`, CodeBusy), `"y": {}`)
		if took := time.Since(start); took > patience {
			t.Errorf("the cancellation was read after %v, want at most %v", took, patience)
		}
		rest, err := p.end()
		if len(rest) != defaultMaxInFlight-1 || err != nil {
			t.Errorf("at the end %d answers, %v, want %d", len(rest), err, defaultMaxInFlight-1)
		}
	})
}

// TestManyShortRequests: nobody is refused for sending faster than we serve.
func TestManyShortRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count = 20_000
		p := startPeer(t, newServer(), nil)
		go func() {
			for i := range count {
				_, _ = io.WriteString(p.in, pingLine(fmt.Sprint(i))+"\n")
			}
			p.in.Close()
		}()
		if err := <-p.served; err != nil {
			t.Error(err)
		}
		p.read.Wait()
		seen := map[string]bool{}
		for _, line := range p.answers() {
			if r := parseReply(t, line); r.Error == nil {
				seen[string(r.ID)] = true
			}
		}
		if len(seen) != count {
			t.Errorf("%d of %d answered", len(seen), count)
		}
	})
}

// TestBytesInFlight: large messages count by their size, and one is always let in.
func TestBytesInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPeer(t, newServer(), &Options{MaxLine: 1000})
		large := `{"pad":"` + strings.Repeat("x", 850) + `"}`
		var lines []string
		for i := range 6 {
			lines = append(lines, callLine(fmt.Sprint(i), "wait", large, ""))
		}
		p.write(strings.Join(lines, "\n") + "\n")
		<-time.After(patience)
		checkSummaries(t, p.answers(), "4: -32000", "5: -32000")
		for range 10 { // what is cancelled counts no longer
			checkSummaries(t, p.send(cancelLine("3"), callLine("3", "wait", large, "")))
		}
		if rest, err := p.end(); len(rest) != 4 || err != nil {
			t.Errorf("at the end %d answers, %v, want 4", len(rest), err)
		}
	})
}

// TestClientStopsReading: unread output is bounded, the senders wait, cancellations are still read,
// and a client that reads again gets everything.
func TestClientStopsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls, count = 20, 3000
		s := newServer()
		sent := make([]int, calls)
		s.AddTool(mcp.NewTool("count"), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			for i := range count {
				err := s.SendNotificationToClient(ctx, "notifications/progress", map[string]any{"pad": strings.Repeat("x", 100)})
				if err != nil {
					return nil, err
				}
				sent[r.GetInt("n", 0)] = i + 1
			}
			return mcp.NewToolResultText("done"), nil
		})
		cancelled := make(chan struct{})
		s.AddTool(mcp.NewTool("until"), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			<-ctx.Done()
			close(cancelled)
			return mcp.NewToolResultText(""), nil
		})
		p := newPeer(t, t.Context(), s, nil)
		p.write(callLine(`"until"`, "until", "{}", "") + "\n")
		for i := range calls {
			p.write(callLine(fmt.Sprint(i), "count", fmt.Sprintf(`{"n":%d}`, i), "") + "\n")
		}
		synctest.Wait()
		total := 0
		for _, n := range sent {
			total += n
		}
		if most := outboxLimit/100 + calls*(2*rpc.MailboxPlaces+2); total > most || total == 0 {
			t.Errorf("%d notifications were taken from the senders, want at most %d", total, most)
		}
		p.write(cancelLine(`"until"`) + "\n")
		<-cancelled
		p.startReading()
		if got := len(p.answers()); got != calls*(count+1) {
			t.Errorf("%d lines, want %d", got, calls*(count+1))
		}
		p.endWell()
	})
}

// TestRefusalsNobodyReads: they are bounded too, and don't stop the reader for long.
func TestRefusalsNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, t.Context(), newServer(), nil)
		const lines = 100_000
		start := time.Now()
		p.write(strings.Repeat("junk\n", lines))
		if took := time.Since(start); took > patience {
			t.Errorf("reading took %v, want at most %v", took, patience)
		}
		<-time.After(patience) // the reader has given up on the first refusal by now
		p.startReading()
		size := 0
		for _, line := range p.answers() {
			size += len(line) + 1
		}
		if size < outboxLimit || size > 2*outboxLimit+writeSize {
			t.Errorf("%d bytes of refusals were kept, want between one and two MiB", size)
		}
		checkSummaries(t, p.send(pingLine("1")), "1: {}")
		p.endWell()
	})
}
