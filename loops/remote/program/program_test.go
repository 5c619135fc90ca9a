//go:build unix

package program

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/command"
)

// heard is what a program said beside its result.
type heard struct {
	mu    sync.Mutex
	saved []string
	live  []string
}

// sh is the body of a shell script, and a turn for it.
func sh(t *testing.T, script string) (*Body, loops.Turn, *heard) {
	t.Helper()
	h := &heard{}
	b := &Body{Name: "test", Argv: []string{"sh", "-c", script}, Dir: t.TempDir(), Runner: &command.Runner{}}
	return b, loops.Turn{Loop: "test-aaaa", Iteration: 2, Pass: 1, Goal: "be done", Ledger: loops.Ledger{Starts: 3},
		Save: func(_ context.Context, memory json.RawMessage) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.saved = append(h.saved, string(memory))
			return nil
		},
		Emit: func(l loops.Live) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.live = append(h.live, strings.TrimSpace(l.Text)+l.Tool)
		}}, h
}

func TestProgramReadsItsCallAndSaysWhatItDoes(t *testing.T) {
	b, turn, h := sh(t, `call=$(cat)
case "$call" in *'"key":"test-aaaa.3"'*'"goal":"be done"'*) ;; *) exit 9;; esac
echo '{"type":"emit","text":"looking"}'
echo
echo '{"type":"emit","tool":"hammer"}'
echo '{"type":"save","memory":{"half":true}}'
echo "on stderr" >&2
printf '{"type":"result","output":"%s in %s \u001b[1m","done":false,"memory":[1],"usage":{"cost_usd":0.5}}' "$LOOP_MCP_PARENT" "$LOOP_ITERATION"`)
	r, err := b.Run(t.Context(), turn)
	if err != nil || r.Output != "test-aaaa in 2 \x1b[1m" || r.Done || string(r.Memory) != "[1]" || r.Usage.CostUSD != loops.Dollar/2 {
		t.Errorf("%+v, %v", r, err)
	}
	live := strings.Join(h.live, ",")
	if strings.Join(h.saved, ",") != `{"half":true}` || !strings.Contains(live, "looking") || !strings.Contains(live, "hammer") || !strings.Contains(live, "on stderr") {
		t.Errorf("saved %q, live %q", h.saved, h.live)
	}
}

func TestWhatAProgramDoesWrong(t *testing.T) {
	for name, c := range map[string]struct{ script, want, kind string }{
		"prints words":             {`echo hello`, `line 1 of standard output: not valid JSON at column 1`, loops.FaultFailed},
		"prints words in between":  {`echo '{"type":"emit","text":"x"}'; echo DEBUG; sleep 100`, `line 2 of standard output: not valid JSON at column 1`, loops.FaultFailed},
		"prints another object":    {`echo '{"output":"x"}'`, `type: must be accept`, loops.FaultFailed},
		"misspells":                {`echo '{"type":"result","outpt":"x"}'`, `outpt: unknown key, did you mean output?`, loops.FaultFailed},
		"speaks the wire":          {`echo '{"type":"result","key":"test-aaaa.3"}'`, `v, key, by and parts are for handlers that speak the wire`, loops.FaultFailed},
		"beats":                    {`echo '{"type":"heartbeat"}'`, `a program says emit, save or result, not heartbeat`, loops.FaultFailed},
		"goes on after its result": {`echo '{"type":"result"}'; echo '{"type":"emit","text":"x"}'`, `the result came before`, loops.FaultFailed},
		"two results":              {`echo '{"type":"result"}'; echo '{"type":"result"}'`, `the result came before`, loops.FaultFailed},
		"says nothing":             {`echo why >&2`, `ended without a result: print one line such as {"type":"result","output":"..."}: why`, loops.FaultFailed},
		"exits with 3":             {`echo '{"type":"result","output":"x"}'; echo broken >&2; exit 3`, `exit 3: broken`, loops.FaultFailed},
		"exits with 75":            {`echo later >&2; exit 75`, `exit 75 (a fault that may pass): later`, loops.FaultTransient},
		"kills itself":             {`kill -9 $$`, `ended by a signal (killed)`, loops.FaultFailed},
		"fails for good":           {`echo '{"type":"result","error":{"message":"no","kind":"permanent"}}'`, `no`, loops.FaultPermanent},
	} {
		t.Run(name, func(t *testing.T) {
			b, turn, _ := sh(t, c.script)
			r, err := b.Run(t.Context(), turn)
			if err == nil || !strings.Contains(err.Error(), c.want) || loops.FaultOf(err).Kind != c.kind {
				t.Errorf("got %+v, %v; want %q (%s)", r, err, c.want, c.kind)
			}
		})
	}
}

func TestProgramThatCanNotBeStartedFailsForGood(t *testing.T) {
	b, turn, _ := sh(t, "")
	b.Argv = []string{"no-such-program-here"}
	if _, err := b.Run(t.Context(), turn); loops.FaultOf(err).Kind != loops.FaultPermanent || !strings.Contains(err.Error(), "no-such-program-here") {
		t.Error(err)
	}
}

// A program that neither reads nor ends, and its child, are gone after a cancel.
func TestCancelledProgramAndItsChildAreGone(t *testing.T) {
	b, turn, _ := sh(t, `trap '' TERM; sleep 1000 & echo $! > child.new; mv child.new child; while :; do sleep 1; done`)
	turn.Output = strings.Repeat("x", 1<<20) // more than a pipe takes
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
			if _, err := os.Stat(filepath.Join(b.Dir, "child")); err == nil {
				cancel(loops.ErrCancelled)
				return
			}
		}
	}()
	if _, err := b.Run(ctx, turn); !errors.Is(err, loops.ErrCancelled) {
		t.Errorf("got %v", err)
	}
	data, err := os.ReadFile(filepath.Join(b.Dir, "child"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat") // gone, or not Linux
	if syscall.Kill(pid, 0) == nil && !strings.Contains(string(stat), ") Z ") {
		t.Errorf("the child %d lives on", pid)
	}
}

func TestProgramOfManyLinesIsReadToItsEnd(t *testing.T) {
	b, turn, _ := sh(t, `i=0; while [ $i -lt 20000 ]; do echo '{"type":"emit","text":"x"}'; i=$((i+1)); done; echo '{"type":"result","output":"ok"}'`)
	if r, err := b.Run(t.Context(), turn); err != nil || r.Output != "ok" || !r.Done {
		t.Errorf("%+v, %v", r, err)
	}
}
