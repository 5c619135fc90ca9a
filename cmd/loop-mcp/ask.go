package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"example.com/loop-mcp/loops"
)

// canAsk reports whether a person sits at this terminal.
func (a *app) canAsk() bool { return !a.json && isTerminal(a.stdin) && a.onTerminal() }

// maxShown is how many characters of an output are shown with a question about it.
const maxShown = 4000

// ask puts what the loop asks to the person at the terminal. It reports that
// the loop rests when the person puts the decision off.
func (f *follower) ask(ctx context.Context, signals <-chan os.Signal) (rests bool, err error) {
	f.view.end()
	attention := *f.last.Attention
	f.asked = attention.ID
	// Nobody can approve what they have not seen.
	output, err := f.host.result(ctx, f.last)
	if err != nil {
		return true, err
	}
	if output = trimEnd(harmless(output)); output != "" {
		shown := clip(output, maxShown)
		fmt.Fprintf(f.app.stderr, "\n%s\n", shown)
		if shown != output {
			fmt.Fprintf(f.app.stderr, "(%d bytes in all: loop-mcp show %s --view output)\n", len(output), f.id)
		}
	}
	fmt.Fprintf(f.app.stderr, "\n%s asks:\n\n%s\n\n", f.id, indent(harmless(attention.Prompt)))
	request, err := f.app.question(attention, signals)
	if err != nil || request.Action == "" {
		return true, err
	}
	request.AttentionID, request.By = attention.ID, "person"
	_, err = f.host.Do(ctx, f.id, request)
	if errors.Is(err, loops.ErrRefused) {
		f.view.note(plain(err.Error()))
		return false, nil
	}
	return false, err
}

// question reads a decision; an empty request puts it off.
func (a *app) question(attention loops.Attention, signals <-chan os.Signal) (loops.Request, error) {
	if attention.Kind != loops.AttentionApproval {
		text, err := a.readLine("Answer (empty: later): ", signals)
		if err != nil || text == "" {
			return loops.Request{}, err
		}
		return loops.Request{Action: loops.AnswerIt, Message: text}, nil
	}
	for {
		text, err := a.readLine("Approve? [y]es, [n]o, [l]ater: ", signals)
		if err != nil {
			return loops.Request{}, err
		}
		switch strings.ToLower(text) {
		case "y", "yes":
			return loops.Request{Action: loops.Approve}, nil
		case "n", "no":
			why, err := a.readLine("What is missing? ", signals)
			return loops.Request{Action: loops.Deny, Message: why}, err
		case "", "l", "later":
			return loops.Request{}, nil
		}
	}
}

// readLine reads a line from the terminal; a signal ends the command.
func (a *app) readLine(prompt string, signals <-chan os.Signal) (string, error) {
	fmt.Fprint(a.stderr, prompt)
	type line struct {
		text string
		err  error
	}
	read := make(chan line, 1)
	// A read from a terminal can't be taken back: after a signal this goroutine
	// ends with the process, which is at its end then.
	go func() {
		text, err := bufio.NewReader(a.stdin).ReadString('\n')
		read <- line{text: text, err: err}
	}()
	select {
	case l := <-read:
		if l.err != nil && l.text == "" {
			return "", nil
		}
		return strings.TrimSpace(l.text), nil
	case <-signals:
		fmt.Fprintln(a.stderr)
		return "", &exitError{code: exitInterrupted}
	}
}
