package command

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
)

// serving starts a script as a service and returns the words that follow
// "ready" on its first lines.
func serving(t *testing.T, text string, ready int) (*Service, *bufio.Reader, []string) {
	t.Helper()
	var r Runner
	s, err := r.Start(Command{Argv: script(text), Env: basics()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.End)
	out := bufio.NewReader(s.Stdout)
	var words []string
	for range ready {
		line, err := out.ReadString('\n')
		word, ok := strings.CutPrefix(line, "ready ")
		if err != nil || !ok {
			t.Fatalf("the service said %q, %v; on stderr %q", line, err, s.Stderr())
		}
		words = append(words, strings.TrimSpace(word))
	}
	return s, out, words
}

func TestAServiceIsTalkedTo(t *testing.T) {
	s, out, _ := serving(t, `echo hello >&2; while read -r line; do echo "got $line"; done; echo bye; exit 3`, 0)
	io.WriteString(s.Stdin, "one\n")
	if line, err := out.ReadString('\n'); line != "got one\n" || err != nil {
		t.Errorf("it answered %q, %v", line, err)
	}
	go s.End() // closes its stdin
	if rest, err := io.ReadAll(out); string(rest) != "bye\n" || err != nil {
		t.Errorf("its last words are %q, %v", rest, err)
	}
	if got := s.Exit(); got != "exit 3" {
		t.Errorf("it ended with %q", got)
	}
	if got := s.Stderr(); got != "hello" {
		t.Errorf("stderr is %q", got)
	}
	s.End()
}

func TestNothingOutlivesAService(t *testing.T) {
	stubborn := `sh -c "trap '' TERM; echo ready \$\$; while :; do sleep 0.05; done" & `
	for name, tt := range map[string]struct {
		script string
		ready  int
	}{
		"one that ends with its stdin":               {`sleep 600 & echo ready $!; cat`, 1},
		"one that does not care about its stdin":     {`sleep 600 & echo ready $!; echo ready $$; exec sleep 600`, 2},
		"one that ignores SIGTERM":                   {`trap '' TERM; echo ready $$; while :; do sleep 0.05; done`, 1},
		"a grandchild that ignores SIGTERM":          {stubborn + `cat`, 1},
		"a grandchild in a session of its own":       {`setsid ` + stubborn + `wait`, 1},
		"a daemon with a session and without parent": {`(setsid sh -c 'echo ready $$; exec sleep 600' &) ; exec sleep 600`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, out, pids := serving(t, tt.script, tt.ready)
			go io.Copy(io.Discard, out)
			s.End()
			for _, pid := range pids {
				if lives(t, pid) {
					t.Errorf("process %s is still there", pid)
				}
			}
		})
	}
}

func TestAStoppedServiceEnds(t *testing.T) {
	s, out, pids := serving(t, `echo ready $$; exec sleep 600`, 1)
	go io.Copy(io.Discard, out)
	number, _ := strconv.Atoi(pids[0])
	syscall.Kill(number, syscall.SIGSTOP)
	s.End()
	if lives(t, pids[0]) {
		t.Error("it is still there")
	}
}

func TestACrashedServiceLeavesNothing(t *testing.T) {
	s, out, pids := serving(t, `sleep 600 & echo ready $!; echo oops >&2; kill -9 $$`, 1)
	if _, err := io.ReadAll(out); err != nil {
		t.Error(err)
	}
	if got := s.Exit(); got != "ended by a signal (killed)" || s.Stderr() != "oops" {
		t.Errorf("it ended with %q, stderr %q", got, s.Stderr())
	}
	if lives(t, pids[0]) {
		t.Error("its child is still there")
	}
}

func TestLeftoversOfADeadWorkerEndBeforeAService(t *testing.T) {
	owner := Owner("demo-aaaa", t.TempDir())
	pid := dyingWorker(t, owner)
	var r Runner
	s, err := r.Start(Command{Argv: script("cat"), Env: basics(), Owner: owner})
	if err != nil {
		t.Fatal(err)
	}
	defer s.End()
	if lives(t, pid) {
		t.Error("it is still there")
	}
	if n := r.EndLeftovers(owner); n != 0 {
		t.Errorf("ended %d processes of a worker that lives", n)
	}
}

func TestWhatIsNoService(t *testing.T) {
	for name, c := range map[string]Command{
		"nothing to run":     {},
		"no such program":    {Argv: []string{"no-such-program-here"}},
		"text for its stdin": {Argv: []string{"cat"}, Stdin: "x"},
		"a time limit":       {Argv: []string{"cat"}, Timeout: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			var r Runner
			_, err := r.Start(c)
			if _, ok := errors.AsType[*StartError](err); !ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestServiceTellsWhatComesOnStderrAndReadsItsInputToTheEnd(t *testing.T) {
	var r Runner
	lines := make(chan string, 8)
	s, err := r.Start(Command{Argv: []string{"sh", "-c", "cat; echo told >&2"}, Emit: func(l loops.Live) { lines <- l.Text }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.End()
	if _, err := io.WriteString(s.Stdin, "given"); err != nil {
		t.Fatal(err)
	}
	s.CloseStdin()
	out, err := io.ReadAll(s.Stdout)
	if err != nil || string(out) != "given" {
		t.Errorf("stdout is %q, %v", out, err)
	}
	if line := <-lines; strings.TrimSpace(line) != "told" {
		t.Errorf("live text is %q", line)
	}
	if exit := s.Exit(); exit != "exit 0" {
		t.Error(exit)
	}
}

// What a service writes and nobody reads must not hold up its end.
func TestAServiceThatIsNotReadEnds(t *testing.T) {
	s, _, pids := serving(t, `echo ready $$; exec yes`, 1)
	s.End()
	if lives(t, pids[0]) {
		t.Error("it is still there")
	}
}

func BenchmarkService(b *testing.B) {
	var r Runner
	for b.Loop() {
		s, err := r.Start(Command{Argv: []string{"cat"}})
		if err != nil {
			b.Fatal(err)
		}
		s.End()
	}
}
