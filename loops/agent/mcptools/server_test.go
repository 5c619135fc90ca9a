package mcptools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops/agent"
	"github.com/google/go-cmp/cmp"
	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

// script is a transport whose tool calls do what a test says.
type script struct {
	call func(ctx context.Context, n int) (sent bool, result string, err error)
	calm func(ctx context.Context) error                          // of everything else
	meet func(ctx context.Context, method string) (string, error) // nil: a server of the older era
	lost chan struct{}

	mu    sync.Mutex
	calls int
}

func (s *script) Start(context.Context) error                                     { return nil }
func (s *script) Close() error                                                    { return nil }
func (s *script) GetSessionId() string                                            { return "" }
func (s *script) SetNotificationHandler(func(mcp.JSONRPCNotification))            {}
func (s *script) SendNotification(context.Context, mcp.JSONRPCNotification) error { return nil }
func (s *script) SendRequest(ctx context.Context, r transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	noteRequest(ctx)
	respond := func(result string) *transport.JSONRPCResponse {
		resp := transport.NewJSONRPCResultResponse(r.ID, json.RawMessage(result))
		noteResponse(ctx, resp)
		return resp
	}
	switch r.Method {
	case "tools/call":
		s.mu.Lock()
		s.calls++
		n := s.calls
		s.mu.Unlock()
		sent, result, err := s.call(ctx, n)
		noteSent(ctx, sent)
		if err != nil {
			return nil, err
		}
		return respond(result), nil
	case "initialize", "server/discover":
		if s.meet != nil {
			result, err := s.meet(ctx, r.Method)
			if err != nil && ctx.Err() == nil { // it answers that it won't
				resp := transport.NewJSONRPCErrorResponse(r.ID, mcp.METHOD_NOT_FOUND, err.Error(), nil)
				noteResponse(ctx, resp)
				return resp, nil
			}
			return respond(result), err
		}
		return respond(`{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"script","version":"1"}}`), nil
	case "tools/list":
		if s.calm != nil {
			if err := s.calm(ctx); err != nil {
				return nil, err
			}
		}
		return respond(`{"tools":[{"name":"t"}]}`), nil
	}
	return nil, errors.New("not here")
}

// supervised is a server on scripts; each start takes the next one.
func supervised(t *testing.T, scripts ...*script) (*server, func() []time.Duration) {
	over, stop := context.WithCancelCause(t.Context())
	begun := time.Now()
	var mu sync.Mutex
	var starts []time.Duration
	s := newServer(over, "fake", 50*time.Second, func(ctx context.Context) (*conn, error) {
		mu.Lock()
		at := len(starts)
		starts = append(starts, time.Since(begun))
		mu.Unlock()
		if at >= len(scripts) || scripts[at] == nil {
			return nil, errors.New("it does not start")
		}
		c := newConn(client.NewClient(scripts[at], client.WithProtocolVersion(mcp.LATEST_LEGACY_PROTOCOL_VERSION)))
		c.lost, c.shut = scripts[at].lost, func() {}
		return c, c.greet(ctx, "test")
	})
	t.Cleanup(func() {
		stop(errOver)
		s.close()
	})
	return s, func() []time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return starts
	}
}

const fine = `{"content":[{"type":"text","text":"fine"}]}`

func TestWhatBecomesOfACall(t *testing.T) {
	broken := errors.New("the cable was cut")
	answers := func(context.Context, int) (bool, string, error) { return true, fine, nil }
	for name, tt := range map[string]struct {
		first   func(context.Context, int) (bool, string, error)
		starts  int
		want    string
		notSent bool
	}{
		"answered":                {answers, 1, "", false},
		"not sent, then answered": {func(context.Context, int) (bool, string, error) { return false, "", broken }, 2, "", false},
		"lost after it was sent":  {func(context.Context, int) (bool, string, error) { return true, "", broken }, 1, "the MCP server fake: the cable was cut; whether the tool ran is not known", false},
		"late": {func(ctx context.Context, _ int) (bool, string, error) {
			<-ctx.Done()
			return true, "", ctx.Err()
		}, 1, "the MCP server fake: too slow; whether the tool ran is not known", false},
		"late before it was sent": {func(ctx context.Context, _ int) (bool, string, error) {
			<-ctx.Done()
			return false, "", ctx.Err()
		}, 1, "the tool was not called: the MCP server fake: too slow", true},
		"a wish for input": {func(context.Context, int) (bool, string, error) {
			return true, `{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"message":"x"}}}}`, nil
		}, 1, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, starts := supervised(t, &script{call: tt.first}, &script{call: answers})
				ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, errors.New("too slow"))
				defer cancel()
				out, err := s.call(ctx, "t", json.RawMessage("{}"))
				got := ""
				if err != nil {
					got = err.Error()
				}
				if got != tt.want || errors.Is(err, agent.ErrNotSent) != tt.notSent || len(starts()) != tt.starts {
					t.Errorf("got %+v, %q after %d starts; want %q after %d", out, got, len(starts()), tt.want, tt.starts)
				}
				if err == nil && out.Error != (name == "a wish for input") {
					t.Errorf("got %+v", out)
				}
			})
		})
	}
}

// A call is made twice at most, however often it does not go out.
func TestACallIsNotTriedForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := &script{call: func(context.Context, int) (bool, string, error) { return false, "", errors.New("no route") }}
		s, starts := supervised(t, never, never, never)
		_, err := s.call(t.Context(), "t", nil)
		if !errors.Is(err, agent.ErrNotSent) || !strings.Contains(err.Error(), "no route") || never.calls != 2 || len(starts()) != 2 {
			t.Errorf("%d calls, %d starts: %v", never.calls, len(starts()), err)
		}
	})
}

func TestAFailingServerIsStartedMoreAndMoreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, starts := supervised(t)
		for range 9 {
			if _, err := s.ready(t.Context()); err == nil || !strings.Contains(err.Error(), "the MCP server fake did not start: it does not start") {
				t.Errorf("got %v", err)
			}
		}
		var want []time.Duration
		for _, seconds := range []int{0, 1, 3, 7, 15, 31, 61, 91, 121} {
			want = append(want, time.Duration(seconds)*time.Second)
		}
		if diff := cmp.Diff(want, starts()); diff != "" {
			t.Error(diff)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := s.call(ctx, "t", nil)
		if !errors.Is(err, agent.ErrNotSent) || !strings.Contains(err.Error(), "failed 9 times in a row and is not started again for another 30s") || len(starts()) != 9 {
			t.Errorf("a call that can't wait that long gave %v", err)
		}
		time.Sleep(time.Hour)
		s.ready(t.Context())
		if got := starts(); got[9] != 121*time.Second+time.Hour {
			t.Errorf("it waited although an hour had passed: %s", got[9])
		}
	})
}

// One that crashes at every call is restarted with pauses; an answer ends them.
func TestACrashingServerIsRestartedWithPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crash := func(context.Context, int) (bool, string, error) { return true, "", errors.New("crash") }
		once := func(_ context.Context, n int) (bool, string, error) {
			if n == 1 {
				return true, fine, nil
			}
			return crash(nil, n)
		}
		s, starts := supervised(t, &script{call: crash}, &script{call: crash}, &script{call: crash}, &script{call: once}, &script{call: once})
		for range 7 {
			s.call(t.Context(), "t", nil)
		}
		want := []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second, 8 * time.Second}
		if diff := cmp.Diff(want, starts()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAConnectionInDoubtIsAskedForASignOfLife(t *testing.T) {
	hang := func(ctx context.Context, _ int) (bool, string, error) {
		<-ctx.Done()
		return true, "", ctx.Err()
	}
	answers := func(ctx context.Context, n int) (bool, string, error) {
		if n == 1 {
			return hang(ctx, n)
		}
		return true, fine, nil
	}
	for name, tt := range map[string]struct {
		calm   func() func(context.Context) error
		starts int
		late   time.Duration // of the second call
	}{
		"it gives one": {func() func(context.Context) error { return nil }, 1, 0},
		"it gives none": {func() func(context.Context) error {
			asked := 0
			return func(ctx context.Context) error {
				if asked++; asked == 1 {
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			}
		}, 2, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, starts := supervised(t, &script{call: answers, calm: tt.calm()}, &script{call: func(context.Context, int) (bool, string, error) { return true, fine, nil }})
				call := func() (agent.Outcome, error) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					return s.call(ctx, "t", nil)
				}
				if _, err := call(); err == nil {
					t.Fatal("a call that hangs was answered")
				}
				begun := time.Now()
				out, err := call()
				if err != nil || out.Text != "fine" || len(starts()) != tt.starts || time.Since(begun) != tt.late {
					t.Errorf("got %+v, %v after %s and %d starts", out, err, time.Since(begun), len(starts()))
				}
				if s.current().doubt.Load() {
					t.Error("it is still in doubt")
				}
			})
		})
	}
}

// Many calls meet a dead connection at once: one of them builds the next.
func TestOneConnectionForManyCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := make(chan struct{})
		answers := func(context.Context, int) (bool, string, error) { return true, fine, nil }
		s, starts := supervised(t, &script{call: answers, lost: lost}, &script{call: answers})
		if _, err := s.call(t.Context(), "t", nil); err != nil {
			t.Fatal(err)
		}
		close(lost)
		errs := make(chan error)
		for range 20 {
			go func() {
				_, err := s.call(t.Context(), "t", nil)
				errs <- err
			}()
		}
		for range 20 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if len(starts()) != 2 {
			t.Errorf("%d connections were made", len(starts()))
		}
	})
}

func TestTheEndDuringAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := supervised(t)
		s.ready(t.Context())
		ctx, cancel := context.WithCancelCause(t.Context())
		failed := make(chan error)
		go func() {
			_, err := s.ready(ctx)
			failed <- err
		}()
		synctest.Wait()
		stop := fmt.Errorf("enough")
		cancel(stop)
		if err := <-failed; !errors.Is(err, stop) {
			t.Errorf("got %v", err)
		}
	})
}

// A server of the newer era alone that is slow to start misses the question
// which era it is of, and knows no other greeting.
func TestASlowServerOfTheNewerEra(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		slow := &script{
			call: func(context.Context, int) (bool, string, error) { return true, fine, nil },
			meet: func(ctx context.Context, method string) (string, error) {
				if up := begun.Add(12 * time.Second); time.Now().Before(up) {
					select {
					case <-time.After(time.Until(up)):
					case <-ctx.Done():
						return "", ctx.Err()
					}
				}
				if method == "initialize" {
					return "", errors.New("no such method")
				}
				return `{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}`, nil
			},
		}
		c := newConn(client.NewClient(slow))
		if err := c.greet(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
		if out, how, err := c.call(t.Context(), "t", json.RawMessage("{}")); how != answeredCall || out.Text != "fine" {
			t.Errorf("got %+v, %v", out, err)
		}
	})
}
