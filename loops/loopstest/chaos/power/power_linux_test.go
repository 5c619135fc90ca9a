package power_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/internal/leaktest"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops/loopstest/chaos/power"
)

var (
	rounds = flag.Int("rounds", 1, "how many stores to cut the power of")
	cuts   = flag.Int("cuts", 12, "how many power cuts of each")
	busy   = flag.Duration("busy", 1500*time.Millisecond, "how long the store is worked on before the cuts")
	pause  = flag.Duration("pause", 0, "how long each worker rests after a commit, so that a long time makes no huge store")
	strict = flag.Bool("strict", false, "the file system keeps a name only when its directory is synced")
	seed   = flag.Uint64("seed", 0, "of the work and the cuts; 0: a new one")
)

// The variables that make the test binary the process whose power is cut.
const (
	childDir  = "POWER_TEST_CHILD"
	childPlan = "POWER_TEST_PLAN"
)

func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(leaktest.Run(m))
	}
	var p plan
	err := json.Unmarshal([]byte(os.Getenv(childPlan)), &p)
	if err == nil {
		err = runChild(dir, p)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type plan struct {
	Durability string
	Seed       uint64
	Work       time.Duration
	Pause      time.Duration
	Loops      int // so many loops of Each iterations and nothing else; 0: everything at once
	Each       int
}

// seeded returns the seed of this test and says how to use it again.
func seeded(t *testing.T) uint64 {
	t.Helper()
	n := *seed
	if n == 0 {
		n = rand.Uint64()>>1 + 1
	}
	name, _, _ := strings.Cut(t.Name(), "/")
	t.Logf("seed %d (again: -run '^%s$' -rounds 1 -seed %d)", n, name, n)
	return n
}

// eachRound runs a test on as many stores as were asked for.
func eachRound(t *testing.T, test func(t *testing.T, seed uint64)) {
	t.Helper()
	for n := range *rounds {
		t.Run(fmt.Sprint("store ", n+1), func(t *testing.T) { test(t, seeded(t)) })
	}
}

// worked returns the log of a disk on which the store was worked on.
func worked(t *testing.T, p plan) *power.Log {
	t.Helper()
	dir := t.TempDir()
	disk, err := power.Mount(dir)
	if err != nil {
		if _, missing := os.Stat("/dev/fuse"); errors.Is(missing, fs.ErrNotExist) || os.Getuid() != 0 {
			t.Skipf("the power can't be cut here: a disk in memory needs /dev/fuse and root: %v", err)
		}
		t.Fatal(err)
	}
	defer func() {
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), p.Work+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^$")
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), childDir+"="+dir, childPlan+"="+string(data))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the process whose power is cut ended by itself: %v\n%s", err, out)
	}
	return &disk.Log
}

// moments chooses where to cut: right after something was acknowledged, right
// after a name changed, and anywhere.
func moments(l *power.Log, r *rand.Rand, n int) (at []int) {
	notes, names := l.Notes(), l.Names()
	for i := range n {
		switch i % 4 {
		case 0, 1:
			at = append(at, notes[r.IntN(len(notes))].At)
		case 2:
			at = append(at, names[r.IntN(len(names))])
		default:
			at = append(at, 1+r.IntN(l.Len()))
		}
	}
	return at
}

// TestPowerLoss: with durability power, nothing that was acknowledged before the
// power went is missing, whatever became of what was not synced.
func TestPowerLoss(t *testing.T) {
	eachRound(t, losesNothing)
}

func losesNothing(t *testing.T, n uint64) {
	log := worked(t, plan{Durability: embed.Power, Seed: n, Work: *busy, Pause: *pause})
	notes := readNotes(t, log)
	losing := cutOften(t, log, n, func(c power.Cut, a *audit) {
		before := notesUntil(notes, c.At)
		a.acknowledged(before)
		a.goOn(before, 0)
		if len(a.problems) > 0 {
			t.Errorf("%s: %d problems:\n%s", c, len(a.problems), first(a.problems))
		}
	})
	if losing == 0 {
		t.Error("no cut lost anything that was not synced: they show nothing")
	}
}

// TestAnIterationTakesOneSync: of one loop exactly one, which each iteration waits
// for, and of many side by side at most one. Beside them there are those of the
// marks, one in 256 commits or a second.
func TestAnIterationTakesOneSync(t *testing.T) {
	const warm, iterations = 20, 250
	for loops, least := range map[int]int{1: iterations - 1, 64: 1} {
		t.Run(fmt.Sprint(loops, " loops"), func(t *testing.T) {
			log := worked(t, plan{Durability: embed.Power, Seed: 1, Loops: loops, Each: (warm+iterations)/loops + 1})
			var begun []int // where iterations began
			for _, n := range readNotes(t, log) {
				if n.What == "started" {
					begun = append(begun, n.at)
				}
			}
			if len(begun) < warm+iterations {
				t.Fatalf("%d iterations", len(begun))
			}
			syncs, most := log.Syncs(begun[warm], begun[warm+iterations-1]), iterations-1+marks
			t.Logf("%d iterations took %d syncs", iterations-1, syncs)
			if syncs > most || syncs < least {
				t.Errorf("%d iterations took %d syncs, want %d to %d", iterations-1, syncs, least, most)
			}
		})
	}
}

// marks is how many syncs of marks there may be beside so few iterations, on a
// machine on which they take half a minute.
const marks = 30

// TestPowerLossWithDurabilityProcess: what was acknowledged lately may be gone,
// but no loop is set back behind the last sync of the marks without being
// quarantined, so no cap is exceeded by more than the starts since then.
func TestPowerLossWithDurabilityProcess(t *testing.T) {
	eachRound(t, losesWhatMarksTell)
}

func losesWhatMarksTell(t *testing.T, n uint64) {
	log := worked(t, plan{Durability: embed.Process, Seed: n, Work: *busy, Pause: *pause})
	notes := readNotes(t, log)
	missing, quarantined := 0, 0
	cutOften(t, log, n, func(c power.Cut, a *audit) {
		before := notesUntil(notes, c.At)
		marked := notesUntil(notes, log.Synced(".mark", c.At))
		a.quarantine = true
		a.acknowledged(marked)
		a.goOn(before, count(before[len(marked):], "started"))
		if len(a.problems) > 0 {
			t.Errorf("%s: %d problems:\n%s", c, len(a.problems), first(a.problems))
		}
		quarantined += a.quarantined
		all := audit{ctx: a.ctx, store: a.store}
		all.acknowledged(before)
		missing += len(all.problems)
	})
	t.Logf("%d acknowledged things were gone, %d of them noticed by their marks", missing, quarantined)
	if missing == 0 || quarantined == 0 {
		t.Errorf("%d acknowledged things were gone and %d loops quarantined: a disk without syncs must lose some, or the cuts show nothing", missing, quarantined)
	}
}

// cutOften cuts the power, opens what is left and has it looked at. It returns
// how many cuts had something to lose.
func cutOften(t *testing.T, log *power.Log, seed uint64, look func(power.Cut, *audit)) (losing int) {
	t.Helper()
	t.Logf("%d entries: %d syncs, %d changes of names; %d blocks made, %d rewritten; %d notes",
		log.Len(), log.Syncs(0, log.Len()), len(log.Names()), log.Made(".blk"), log.Renamed(".blk"), len(log.Notes()))
	r := rand.New(rand.NewPCG(seed, 1))
	for i, at := range moments(log, r, *cuts) {
		c := power.Cut{At: at, Loss: power.Losses[i%len(power.Losses)], Strict: *strict, Seed: r.Uint64()}
		if log.Unsynced(at) > 0 {
			losing++
		}
		dir := filepath.Join(t.TempDir(), "disk")
		if err := log.Cut(c, dir); err != nil {
			t.Fatal(err)
		}
		reopen(t, filepath.Join(dir, "home"), func(a *audit) { look(c, a) })
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	return losing
}

// note is what the child said, with its place in the log.
type note struct {
	said
	at int
}

func readNotes(t *testing.T, l *power.Log) (notes []note) {
	t.Helper()
	for _, n := range l.Notes() {
		var s said
		if err := json.Unmarshal(n.Text, &s); err != nil {
			t.Fatalf("note %q: %v", n.Text, err)
		}
		notes = append(notes, note{s, n.At})
	}
	if len(notes) < 100 {
		t.Fatalf("only %d notes: too few to show anything", len(notes))
	}
	return notes
}

func notesUntil(notes []note, at int) []note {
	for i, n := range notes {
		if n.at > at {
			return notes[:i]
		}
	}
	return notes
}

func count(notes []note, what string) (n int) {
	for _, s := range notes {
		if s.What == what {
			n++
		}
	}
	return n
}

// first returns as many problems as anybody wants to read.
func first(problems []string) string { return strings.Join(problems[:min(3, len(problems))], "\n") }
