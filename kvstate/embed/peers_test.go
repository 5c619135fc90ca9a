package embed_test

import (
	"os"
	"path/filepath"
	"testing"

	"example.com/loop-mcp/kvstate/embed"
)

// TestProcessesSayWhatTheyAre, and what they said goes with them.
func TestProcessesSayWhatTheyAre(t *testing.T) {
	dir := t.TempDir()
	if peers, err := embed.Peers(dir); err != nil || len(peers) != 0 {
		t.Fatalf("an empty directory has %v, %v", peers, err)
	}
	one := join(t, embed.Options{Dir: dir, Role: "server", Version: "1.0"})
	two := join(t, embed.Options{Dir: dir, Role: "command"})
	peers, err := two.Peers()
	if err != nil || len(peers) != 2 {
		t.Fatalf("got %v, %v", peers, err)
	}
	if p := peers[0]; p.Runner != one.Runner() || p.Role != "server" || p.Version != "1.0" || p.PID != os.Getpid() || p.Started.IsZero() || p.Command == "" {
		t.Errorf("the first is %+v", p)
	}
	if peers[1].Runner != two.Runner() || peers[1].Role != "command" {
		t.Errorf("the second is %+v", peers[1])
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	runners := filepath.Join(dir, "runners")
	for _, litter := range []string{"run-dead.json", "run-dead.json.new"} { // of a process that was killed as it began or ended
		if err := os.WriteFile(filepath.Join(runners, litter), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if peers, err := embed.Peers(dir); err != nil || len(peers) != 1 || peers[0].Runner != two.Runner() {
		t.Errorf("after the first has closed: %v, %v", peers, err)
	}
	three := join(t, embed.Options{Dir: dir})
	files, err := os.ReadDir(runners)
	if err != nil || len(files) != 4 {
		t.Errorf("left are %v, %v", files, err)
	}
	if err := os.WriteFile(filepath.Join(runners, three.Runner()+".json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if peers, err := embed.Peers(dir); err != nil || len(peers) != 2 {
		t.Errorf("what can't be read hides a process: %v, %v", peers, err)
	}
}

func TestOnlyOneHoldsAName(t *testing.T) {
	dir := t.TempDir()
	release, ok, err := embed.Hold(dir, "background")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if _, again, err := embed.Hold(dir, "background"); again || err != nil {
		t.Errorf("two have the name: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	release, ok, err = embed.Hold(dir, "background")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}
