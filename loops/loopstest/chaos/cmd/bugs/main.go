// Command bugs shows that the chaos suite finds the mistakes of package
// internal/bugs, and that it finds nothing without them. Its exit code is 1 when
// one of them is not found.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/loop-mcp/loops/loopstest/chaos"
)

// mistakes that a run of the driver shows.
var mistakes = []string{"bug_uncharged", "bug_nolock", "bug_overcap", "bug_nochecksum", "bug_redelivered"}

// What runs for each of them: kills, lost answers and damaged records.
const (
	kills  = 12
	loops  = 16
	lost   = "GOFAIL_FAILPOINTS=lostAnswer=5.0%return()"
	tries  = 3
	damage = 2
)

var keep *bool

func main() {
	only := flag.String("only", "", "these tags, separated by commas, and the clean build; empty: all")
	clean := flag.Bool("clean", true, "a build without a mistake, too")
	keep = flag.Bool("keep", false, "keep the folders of the runs")
	power := flag.Bool("power", true, "cut the power, too")
	seed := flag.Uint64("seed", 1, "of the first try")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	failed := false
	say := func(tag string, err error, found string) {
		if err != nil {
			failed = true
			found = "NOT AS IT SHOULD BE: " + err.Error()
		}
		fmt.Printf("%-16s %s\n", strings.TrimPrefix(tag, "bug_"), found)
	}
	for _, tag := range append([]string{""}, mistakes...) {
		if tag == "" && !*clean {
			continue
		}
		if *only == "" || tag == "" || slices.Contains(strings.Split(*only, ","), tag) {
			found, err := try(ctx, tag, *seed)
			say(tag+map[bool]string{true: "none"}[tag == ""], err, found)
		}
	}
	if *power {
		for _, tag := range []string{"", "bug_nosync"} {
			found, err := cut(ctx, tag)
			say(tag+map[bool]string{true: "none (power)"}[tag == ""], err, found)
		}
	}
	if failed {
		os.Exit(1)
	}
}

// try runs the suite on a build with a mistake until it is found, and once on
// one without.
func try(ctx context.Context, tag string, seed uint64) (found string, err error) {
	dir, err := os.MkdirTemp("", "bugs-")
	if err != nil {
		return "", err
	}
	if *keep {
		fmt.Println(dir)
	} else {
		defer os.RemoveAll(dir)
	}
	program, err := chaos.BuildWithPoints(ctx, dir, tag)
	if err != nil {
		return "", err
	}
	for n := range uint64(tries) {
		began := time.Now()
		opts := chaos.Options{Seed: seed + n, Loops: loops, Kills: kills, Damage: damage, Program: program, Env: []string{lost},
			Settle: 20 * time.Second, Dir: filepath.Join(dir, fmt.Sprint("run", n))}
		report, _, err := chaos.Run(ctx, opts)
		what := fmt.Sprintf("%d kills, %d damaged records, %d loops, %s", report.Kills, report.Damaged, report.Loops, time.Since(began).Round(time.Second))
		switch {
		case tag == "" && err != nil:
			return "", err
		case tag == "" && len(report.Anomalies) > 0:
			return "", fmt.Errorf("found what is not there (seed %d; %s): %s", seed+n, what, report.Anomalies[0])
		case tag == "":
			return "nothing found: " + what, nil
		case len(report.Anomalies) > 0:
			return fmt.Sprintf("found (%s, %d anomalies): %s", what, len(report.Anomalies), report.Anomalies[0]), nil
		case err != nil:
			return fmt.Sprintf("found (%s): the run could not go on: %v", what, err), nil
		}
	}
	return "", fmt.Errorf("not found in %d runs", tries)
}

// cut cuts the power of a build (package power).
func cut(ctx context.Context, tag string) (found string, err error) {
	out, err := exec.CommandContext(ctx, "go", "test", "-count=1", "-tags", tag, "-run", "TestPowerLoss$", "./power").CombinedOutput()
	switch {
	case tag == "" && err != nil:
		return "", fmt.Errorf("%w\n%s", err, out)
	case tag == "":
		return "nothing found", nil
	case err == nil:
		return "", fmt.Errorf("not found\n%s", out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, ".go:") {
			return "found: " + strings.TrimSpace(line), nil
		}
	}
	return "", fmt.Errorf("%w\n%s", err, out)
}
