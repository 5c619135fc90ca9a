// Command chaos runs the chaos suite.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/signal"
	"time"

	"example.com/loop-mcp/kvstate/cluster/clustertest"
	"example.com/loop-mcp/loops/loopstest/chaos"
)

func main() {
	clustertest.Main()
	var opts chaos.Options
	flag.Uint64Var(&opts.Seed, "seed", 0, "of all that is random; 0: any")
	flag.IntVar(&opts.Loops, "loops", 500, "loops")
	flag.IntVar(&opts.Kills, "kills", 1000, "kills")
	flag.IntVar(&opts.Servers, "servers", 4, "servers at the same time")
	flag.IntVar(&opts.Live, "live", 24, "loops at the same time")
	flag.DurationVar(&opts.Gap, "gap", 250*time.Millisecond, "between two faults, on average")
	flag.DurationVar(&opts.Settle, "settle", 3*time.Minute, "how long the end may take")
	flag.StringVar(&opts.Dir, "dir", "", "where the run is kept; empty: a temporary folder, removed when all is well")
	flag.StringVar(&opts.Program, "program", "", "loop-mcp; empty: it is built")
	flag.StringVar(&opts.Tags, "tags", "", "build tags of loop-mcp")
	flag.StringVar(&opts.Config, "config", "", "more lines of the configuration")
	flag.BoolVar(&opts.Calm, "calm", false, "only SIGKILL")
	flag.BoolVar(&opts.Cluster, "cluster", false, "on three NATS servers, with workers; other defaults: 100 kills, 400 loops, 2 servers, a gap of 2 s")
	flag.IntVar(&opts.Workers, "workers", 3, "workers at the same time, in a cluster")
	flag.Parse()
	if opts.Cluster {
		defaults(&opts)
	}
	if opts.Seed == 0 {
		opts.Seed = rand.Uint64()
	}
	opts.Log = log.Printf
	again := fmt.Sprintf("go run ./cmd/chaos -seed %d -loops %d -kills %d -servers %d -live %d -gap %s", opts.Seed, opts.Loops, opts.Kills, opts.Servers, opts.Live, opts.Gap)
	if opts.Cluster {
		again += fmt.Sprintf(" -cluster -workers %d", opts.Workers)
	}
	if opts.Calm {
		again += " -calm"
	}
	if opts.Tags != "" {
		again += " -tags " + opts.Tags
	}
	fmt.Println(again)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	began := time.Now()
	report, dir, err := chaos.Run(ctx, opts)
	fmt.Println(report)
	fmt.Println("took", time.Since(began).Round(time.Second))
	if err == nil {
		err = chaos.Sound(report)
	}
	if err != nil {
		fmt.Printf("%v\nkept in %s; again: %s\n", err, dir, again)
		os.Exit(1)
	}
	if opts.Dir == "" {
		_ = os.RemoveAll(dir)
	}
}

// defaults are those of a run on a cluster, for the flags that were not given.
func defaults(opts *chaos.Options) {
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if !given["loops"] {
		opts.Loops = 400
	}
	if !given["kills"] {
		opts.Kills = 100
	}
	if !given["servers"] {
		opts.Servers = 2
	}
	if !given["gap"] {
		opts.Gap = 2 * time.Second
	}
}
