// Command body is the body and the stop condition of loops of the chaos suite.
// It appends what it does to the effect log, one line a write.
package main

import (
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"example.com/loop-mcp/loops/loopstest/chaos/audit"
)

var (
	limit     = flag.Int("limit", 0, "max_iterations of the loop")
	left      = flag.Int("left", 0, "what is left of it")
	log       = flag.String("log", "", "the effect log")
	check     = flag.Int("check", 0, "be a condition that is met from this iteration on")
	loop      = flag.String("loop", "", "the loop's id")
	iteration = flag.Int("iteration", 0, "the iteration that is judged")
	work      = flag.Duration("work", 0, "how long the work takes, at most")
	fail      = flag.Float64("fail", 0, "the share of runs that fail")
	busy      = flag.Float64("busy", 0, "the share of runs that ask to be repeated")
	open      = flag.Float64("open", 0, "the share of runs that are not done with their pass")
	size      = flag.Int("size", 0, "bytes of output and memory, at most")
	child     = flag.String("child", "", "a loop file to start below this loop in the first iteration")
)

func main() {
	flag.Parse()
	e := audit.Effect{Loop: *loop, Iteration: *iteration, PID: os.Getpid(), Parent: os.Getppid()}
	if *check > 0 {
		e.What = audit.Check
		write(e)
		if *iteration < *check {
			os.Exit(1)
		}
		return
	}
	e.Loop, e.Start = os.Getenv("LOOP_ID"), *limit-*left
	e.Iteration, _ = strconv.Atoi(os.Getenv("LOOP_ITERATION"))
	e.What = audit.Begin
	write(e)
	if *child != "" && e.Iteration == 1 {
		out, err := exec.Command(os.Getenv("CHAOS_PROGRAM"), "start", *child, "--json").CombinedOutput()
		if err != nil {
			fmt.Fprintf(os.Stderr, "start %s: %v: %s\n", *child, err, out)
			os.Exit(75)
		}
	}
	if *work > 0 {
		time.Sleep(mathrand.N(*work))
	}
	e.What, e.Nonce = audit.End, strings.ToLower(rand.Text()[:16])
	switch p := mathrand.Float64(); {
	case p < *fail:
		e.Exit = 1
	case p < *fail+*busy:
		e.Exit = 75
	}
	write(e)
	if e.Exit != 0 {
		fmt.Fprintln(os.Stderr, "failed on purpose,", e.Nonce)
		os.Exit(e.Exit)
	}
	out := map[string]any{"output": e.Nonce, "done": mathrand.Float64() >= *open}
	if *size > 0 {
		filler := strings.Repeat(rand.Text(), mathrand.IntN(*size)/26+1)
		out["output"] = e.Nonce + " " + filler
		out["memory"] = map[string]any{"filler": filler[:len(filler)/2]}
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		os.Exit(1)
	}
}

// write appends a line in one write. A body that can't say what it does does
// nothing.
func write(e audit.Effect) {
	e.At = time.Now().UnixNano()
	line, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	f, err := os.OpenFile(*log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.Write(append(line, '\n'))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
