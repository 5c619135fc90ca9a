package chaos

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

var (
	seed   = flag.Uint64("seed", 0, "of all that is random; 0: the time")
	kills  = flag.Int("kills", 30, "kills")
	loops  = flag.Int("loops", 40, "loops")
	chains = flag.Int("chains", 1, "chains of kills during recovery")
	all    = flag.Bool("all", false, "every operation at every fault point")
	times  = flag.Int("times", 1, "how often at each fault point")
	trees  = flag.Int("trees", 1, "trees of each shape")
)

// TestChaos is the suite in its short form; `make chaos` is the long one.
func TestChaos(t *testing.T) {
	run(t, Options{Seed: seeded(), Loops: *loops, Kills: *kills, Damage: 1, Log: t.Logf})
}

func seeded() uint64 {
	if *seed != 0 {
		return *seed
	}
	return uint64(time.Now().UnixNano())
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

// TestEachFaultPoint kills, panics and delays the program at every step of claim,
// reserve, run, commit, compact and recover; without -all at some of them.
func TestEachFaultPoint(t *testing.T) {
	program, body := pointed(t)
	start := seeded()
	t.Logf("seed %d, which chooses the points without -all", start)
	random := rand.New(rand.NewPCG(start, 8))
	for n, p := range Points {
		for m, op := range []string{OpKillAt, OpPanicAt, OpSleepAt, OpLoseAt} {
			if (op == OpLoseAt) != (p.Name == "lostAnswer") && op == OpLoseAt {
				continue
			}
			if !*all && (m != 0 || n%3 != random.IntN(3)) {
				continue
			}
			for again := range *times {
				t.Run(op+" "+p.Name, func(t *testing.T) {
					p := p
					if p.Skip > 0 { // it is passed in each iteration: in another one
						p.Skip += again % 2
					}
					opts, points, during := Options{Seed: 1 + uint64(again), Program: program, Body: body}, []Point{p}, Point{Name: "duringTidy", Many: true, Skip: 1}
					switch {
					case p.Name != "beforeTidy":
					case op == OpSleepAt: // a process that goes on removes the rest itself
						at(t, opts, op, during)
					default: // and again in the next process, which removes what was left
						points = append(points, during)
					}
					at(t, opts, op, points...)
				})
			}
		}
	}
}

// pointed builds the program with its fault points, and the body.
func pointed(t *testing.T) (program, body string) {
	t.Helper()
	dir := t.TempDir()
	program, err := BuildWithPoints(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	body = filepath.Join(dir, "body")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", body, "./cmd/body").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program, body
}

func at(t *testing.T, opts Options, op string, points ...Point) {
	t.Helper()
	report, dir, err := At(t.Context(), opts, op, points...)
	if err != nil || len(report.Anomalies) > 0 || points[0].Paid && report.Billed < 2 {
		t.Fatalf("%v\n%v\nkept in %s", err, report, dir)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Log(err)
	}
}

// TestKilledWhileItRecovers kills five processes in a row while they open the
// store that the one before left.
func TestKilledWhileItRecovers(t *testing.T) {
	program, body := pointed(t)
	start := seeded()
	for n := range uint64(*chains) {
		t.Run(fmt.Sprint("seed ", start+n), func(t *testing.T) {
			at(t, Options{Seed: start + n, Program: program, Body: body}, OpKillAt, Chain(rand.New(rand.NewPCG(start+n, 9)))...)
		})
	}
}

// TestATreeStaysWithinTheBudgetOfItsRoot kills the processes that work on a root,
// three loops below it and five below each of those, and on five loops of which
// each stands below the one before.
func TestATreeStaysWithinTheBudgetOfItsRoot(t *testing.T) {
	for shape, size := range map[string]int{"3,5": 19, "1,1,1,1": 5} {
		for n := range uint64(*trees) {
			start := seeded() + n
			t.Run(fmt.Sprint(shape, " seed ", start), func(t *testing.T) {
				report, dir, err := Tree(t.Context(), Options{Seed: start, Kills: 8}, shape)
				t.Logf("%d calls made; %v", report.Paid, report)
				if err != nil || len(report.Anomalies) > 0 || report.Loops != size || report.Paid < 15 || report.Kills == 0 {
					t.Fatalf("%v\nkept in %s", err, dir)
				}
				if err := os.RemoveAll(dir); err != nil {
					t.Log(err)
				}
			})
		}
	}
}

// TestEveryFaultPointIsInTheList: one that is in the code and that no process is
// killed at shows nothing.
func TestEveryFaultPointIsInTheList(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	named := regexp.MustCompile(`// gofail: var (\w+) `)
	inCode := map[string]bool{}
	for _, dir := range []string{"loops", "kvstate", filepath.Join("kvstate", "embed")} {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range named.FindAllSubmatch(text, -1) {
				inCode[string(found[1])] = true
			}
		}
	}
	for _, p := range Points {
		if !inCode[p.Name] {
			t.Errorf("%s is in the list and not in the code", p.Name)
		}
		delete(inCode, p.Name)
	}
	for name := range inCode {
		t.Errorf("%s is in the code and not in the list", name)
	}
}
