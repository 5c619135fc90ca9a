// Command handler is a loop in a Go program: its own body, the durable engine,
// the embedded store. Kill it at any moment and start it again: the loop goes
// on after its last committed iteration.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
	"github.com/nats-io/nats.go/jetstream"
)

// step is the body: one step of Newton's method towards the root of 2. What it
// returns as output is what the next turn gives it.
func step(_ context.Context, t loops.Turn) (loops.Result, error) {
	x, err := strconv.ParseFloat(cmp.Or(t.Output, "1"), 64)
	next := (x + 2/x) / 2
	return loops.Result{Output: strconv.FormatFloat(next, 'g', 15, 64), Done: next-x < 1e-12 && x-next < 1e-12}, err
}

func run(ctx context.Context, dir string) (err error) {
	host, err := embed.Start(ctx, embed.Options{Dir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	js, err := jetstream.New(host.Conn())
	if err != nil {
		return err
	}
	store, err := kvstate.Open(ctx, js, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	engine := loops.New(store, loops.Parts{Handlers: map[string]loops.Body{"root": loops.BodyFunc(step)}}, nil)
	started, err := engine.Start(ctx, loops.StartRequest{
		RequestID: "root-of-two", // started again, the program finds its loop
		Spec:      loops.Spec{Name: "root", Goal: "Find the root of 2", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "root"}},
	})
	if err != nil {
		return err
	}
	work, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- engine.Run(work) }()
	s, _, err := engine.Wait(ctx, started.ID, 0, loops.ForSettled, time.Minute, nil)
	fmt.Printf("%s\n%s\n", s.Summary(), s.Output.Text)
	stop()
	return errors.Join(err, <-done)
}

func main() {
	if err := run(context.Background(), cmp.Or(os.Getenv("HANDLER_DATA"), "handler-data")); err != nil {
		log.Fatal(err)
	}
}
