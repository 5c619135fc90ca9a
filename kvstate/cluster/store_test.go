package cluster_test

import (
	"os"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/cluster"
	"example.com/loop-mcp/kvstate/cluster/clustertest"
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// TestStoreOnAServer is the suite of stores on a server that runs already. With
// LOOP_MCP_LONG_TESTS it is on a cluster of three as well, as [TestStoreOnThreeServers].
func TestStoreOnAServer(t *testing.T) {
	suite(t, clustertest.Start(t, clustertest.Options{Nodes: 1}), 1)
}

func TestStoreOnThreeServers(t *testing.T) {
	if testing.Short() || raceEnabled && os.Getenv("LOOP_MCP_LONG_TESTS") == "" {
		t.Skip("needs LOOP_MCP_LONG_TESTS under the race detector")
	}
	suite(t, clustertest.Start(t, clustertest.Options{}), 3)
}

func suite(t *testing.T, c *clustertest.Cluster, replicas int) {
	loopstest.TestStore(t, func(t *testing.T) loops.Store {
		empty(t, c)
		m := member(t, cluster.Options{URL: c.URL()})
		if m.Replicas() != replicas {
			t.Fatalf("%d copies, want %d", m.Replicas(), replicas)
		}
		return store(t, m)
	})
}

// empty removes all loops. A server that is alone gets its streams purged: one
// that is made again right after it was deleted may still have its messages.
func empty(t *testing.T, c *clustertest.Cluster) {
	t.Helper()
	js, err := jetstream.New(c.Connect())
	if err != nil {
		t.Fatal(err)
	}
	names := js.StreamNames(t.Context())
	for name := range names.Name() {
		err := error(nil)
		if c.Nodes() == 1 {
			err = must[jetstream.Stream](t)(js.Stream(t.Context(), name)).Purge(t.Context())
		} else {
			err = js.DeleteStream(t.Context(), name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if names.Err() != nil {
		t.Fatal(names.Err())
	}
}

// member connects for the time of a test.
func member(t testing.TB, opts cluster.Options) *cluster.Member {
	t.Helper()
	m, err := cluster.Connect(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// store opens the store as the program does.
func store(t testing.TB, m *cluster.Member) *kvstate.Store {
	t.Helper()
	js, err := jetstream.New(m.Conn())
	if err != nil {
		t.Fatal(err)
	}
	s, err := kvstate.Open(t.Context(), js, &kvstate.Options{
		Runner: m.Runner(), Alive: m.Alive, Trouble: m.Trouble, Lease: m.Lease, Replicas: m.Replicas(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
