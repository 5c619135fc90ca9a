package kvstate_test

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/cluster/clustertest"
)

// TestBackupBetweenAMachineAndACluster: loops in every status go from an embedded
// store to a cluster and from there to another embedded store, with all that they
// refer to.
func TestBackupBetweenAMachineAndACluster(t *testing.T) {
	from, _ := fresh(t, nil)
	blobs := everyStatus(t, from)

	c := clustertest.Start(t, clustertest.Options{})
	js := must[jetstream.JetStream](t)(jetstream.New(c.Connect()))
	there := open(t, js, &kvstate.Options{Replicas: 3})
	if err := restore(t, there, backupOf(t, from)); err != nil {
		t.Fatal(err)
	}
	same(t, from, there, blobs)
	for _, name := range []string{"KV_LOOPS", "KV_LOOPREQ", "KV_LOOPDATA", "KV_LOOPKEPT", "OBJ_LOOPBLOBS"} {
		if s := must[jetstream.Stream](t)(js.Stream(t.Context(), name)); s.CachedInfo().Config.Replicas != 3 {
			t.Errorf("%s has %d copies", name, s.CachedInfo().Config.Replicas)
		}
	}
	if v := must[kvstate.Verification](t)(there.Verify(t.Context())); v.Damaged() != 0 || len(v.Loops) != len(blobs) {
		t.Errorf("verified: %+v", v)
	}

	back, _ := fresh(t, nil)
	if err := restore(t, back, backupOf(t, there)); err != nil {
		t.Fatal(err)
	}
	same(t, from, back, blobs)
}
