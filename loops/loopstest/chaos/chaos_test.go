package chaos

import (
	"flag"
	"os"
	"testing"
	"time"
)

var (
	seed  = flag.Uint64("seed", 0, "of all that is random; 0: the time")
	kills = flag.Int("kills", 30, "kills")
	loops = flag.Int("loops", 40, "loops")
)

// TestChaos is the suite in its short form; `make chaos` is the long one.
func TestChaos(t *testing.T) {
	opts := Options{Seed: *seed, Loops: *loops, Kills: *kills, Log: t.Logf}
	if opts.Seed == 0 {
		opts.Seed = uint64(time.Now().UnixNano())
	}
	run(t, opts)
}

// run makes a run that must be sound, and keeps one that is not.
func run(t *testing.T, opts Options) {
	t.Helper()
	t.Logf("again: go test ./... -run '^%s$' -seed %d -kills %d -loops %d", t.Name(), opts.Seed, opts.Kills, opts.Loops)
	report, dir, err := Run(t.Context(), opts)
	t.Log(report)
	if err == nil {
		err = Sound(report)
	}
	if err != nil {
		t.Fatalf("%v\nkept in %s", err, dir)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Log(err)
	}
}
