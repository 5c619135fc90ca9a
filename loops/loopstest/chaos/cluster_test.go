package chaos

import (
	"os"
	"testing"

	"example.com/loop-mcp/internal/leaktest"
	"example.com/loop-mcp/kvstate/cluster/clustertest"
)

func TestMain(m *testing.M) {
	clustertest.Main()
	os.Exit(leaktest.Run(m))
}

// TestChaosOnACluster is the suite on three NATS servers in its short form, of
// about two minutes; `make chaos-cluster` is the long one.
func TestChaosOnACluster(t *testing.T) {
	if os.Getenv("LOOP_MCP_LONG_TESTS") == "" {
		t.Skip("takes minutes; needs LOOP_MCP_LONG_TESTS")
	}
	run(t, Options{Seed: seeded(), Cluster: true, Loops: *loops, Kills: *kills / 2, Log: t.Logf})
}
