package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate/cluster/clustertest"
)

// TestTheNATSServerIsFullWhileLoopsRun: whoever looks at a loop that stands still
// for that is told so, in its own process or another, and so is who asks the doctor.
// All goes on without a restart when there is room again.
func TestTheNATSServerIsFullWhileLoopsRun(t *testing.T) {
	b := newBox(t)
	servers := clustertest.Start(t, clustertest.Options{Nodes: 1, MaxFile: "4MB"})
	there := b.on(servers.URL())
	c := there.opened()
	there.want(0, []string{"start", there.loop("slow", "slow", scoreThree)})
	slow := there.only("slow")
	c.until(slow, "running")
	there.untilFile("begun")
	js, err := jetstream.New(servers.Connect())
	if err != nil {
		t.Fatal(err)
	}
	other, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}})
	for n := 0; err == nil && n < 20; n++ {
		_, err = js.Publish(t.Context(), "other", make([]byte, 500_000))
	}
	if err == nil || !strings.Contains(err.Error(), "insufficient resources") {
		t.Fatalf("the server is not full: %v", err)
	}
	there.write("go-on", "")

	const says = "the NATS server has reached the limit of its storage"
	there.want(0, []string{"show", slow, "--view", "why"}, says)
	if r := there.run("doctor"); !strings.Contains(r.stdout, says) || r.code != 1 {
		t.Errorf("the doctor says %s%s", r.stdout, r.stderr)
	}
	there.until("the loop seems to move", func() bool {
		s, problem := c.call("loop_inspect", map[string]any{"loop_id": slow})
		return problem == "" && s["status"] == "running" && strings.HasPrefix(fmt.Sprint(s["why"]), says)
	})
	if err := other.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.until(slow, "completed")
	if r := there.run("doctor"); strings.Contains(r.stdout, says) {
		t.Errorf("with room again the doctor says %s", r.stdout)
	}
}
