package main

import (
	"context"
	"testing"
	"time"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// TestASlowMachineIsNoReasonToStopFollowing: a loop that this process is about to
// take stays queued for longer than anybody thought. It is worked on, and not left
// as one that can't be run here; that one is left.
func TestASlowMachineIsNoReasonToStopFollowing(t *testing.T) {
	body := loops.BodyFunc(func(context.Context, loops.Turn) (loops.Result, error) { return loops.Result{}, nil })
	engine := loops.New(loopstest.NewMemory(), loops.Parts{Bodies: map[string]loops.Body{loops.BodyCommand: body}}, nil)
	for kind, left := range map[string]bool{loops.BodyCommand: false, loops.BodyAgent: true} {
		f := follower{host: &host{Engine: engine, store: &kvstate.Store{}}}
		f.last = loops.State{Status: loops.Queued, Why: "about to be picked up by a worker"}
		f.last.Origin.Spec = loops.Spec{Body: loops.BodySpec{Kind: kind, Run: []string{"true"}}, Until: &loops.Until{All: []loops.Condition{{Kind: loops.StopClaim}}}}
		now := time.Now()
		if f.stranded(now) {
			t.Errorf("%s: left at once", kind)
		}
		if got := f.stranded(now.Add(time.Hour)); got != left {
			t.Errorf("%s: left after an hour: %t, want %t (%v)", kind, got, left, f.host.unable(f.last))
		}
	}
}
