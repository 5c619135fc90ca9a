package kvstate_test

import (
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// Verify names what is damaged, and a backup leaves that out and nothing else.
func TestVerify(t *testing.T) {
	js := stream(t, host(t, t.TempDir(), embed.Process))
	store := open(t, js, nil)
	blobs := everyStatus(t, store)
	if v := must[kvstate.Verification](t)(store.Verify(t.Context())); v.Damaged() != 0 || len(v.Loops) != len(blobs) || v.Beside != len(blobs)+1 || v.Loops[0].Blobs != 2 {
		t.Errorf("before: %+v", v)
	}
	ids := slices.Sorted(maps.Keys(blobs))
	forged := newest(t, js, string(ids[0]))
	forged.Data[len(forged.Data)/2] ^= 8
	must[*jetstream.PubAck](t)(js.PublishMsg(t.Context(), forged))
	objects := must[jetstream.ObjectStore](t)(js.ObjectStore(t.Context(), "LOOPBLOBS"))
	if err := objects.Delete(t.Context(), string(ids[1])+"/"+blobs[ids[1]][1]); err != nil {
		t.Fatal(err)
	}
	must[*jetstream.PubAck](t)(js.Publish(t.Context(), "$KV.LOOPKEPT."+string(ids[2])+"."+blobs[ids[2]][0], []byte("forged")))
	must[*jetstream.PubAck](t)(js.Publish(t.Context(), "$KV.LOOPDATA.day.2027", []byte("forged")))

	looking := open(t, js, &kvstate.Options{ReadOnly: true})
	count := func() (n uint64) {
		for name := range js.StreamNames(t.Context()).Name() {
			st := must[jetstream.Stream](t)(js.Stream(t.Context(), name))
			n += must[*jetstream.StreamInfo](t)(st.Info(t.Context())).State.LastSeq
		}
		return n
	}
	before := count()
	v := must[kvstate.Verification](t)(looking.Verify(t.Context()))
	if count() != before {
		t.Error("something was written")
	}
	damaged := map[loops.ID]string{}
	for _, c := range v.Loops {
		if len(c.Problems) > 0 {
			damaged[c.ID] = strings.Join(c.Problems, "; ")
		}
	}
	for i, want := range []string{"checksum", "is missing", "has another checksum"} {
		if !strings.Contains(damaged[ids[i]], want) {
			t.Errorf("%s: %q, want %q", ids[i], damaged[ids[i]], want)
		}
	}
	if len(damaged) != 3 || v.Damaged() != 4 || !strings.Contains(strings.Join(v.Problems, ""), "day.2027") {
		t.Errorf("damaged: %v, %v", damaged, v.Problems)
	}
	if _, err := looking.Backup(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "does not verify") {
		t.Errorf("a backup with a damaged record: %v", err)
	}
}
