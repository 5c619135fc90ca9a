package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"example.com/loop-mcp/loops"
)

const (
	scoreThree = "until: {all: [{kind: predicate, expression: score >= 3}]}"
	never      = "until: {all: [{kind: predicate, expression: 'false'}]}"
)

func TestExitCodes(t *testing.T) {
	b := newBox(t)
	b.write("client.loop.md", "---\ngoal: g\nuntil: {all: [{kind: claim}]}\n---\nDo {{ goal }}.\n")
	b.write("broken.loop.yaml", "goal: g\nbody: {kind: client}\nlimts: {max_passes: 3}\n")
	tests := []struct {
		name string
		code int
		args []string
		says []string
	}{
		{"completed", 0, []string{"run", b.loop("good", "count", scoreThree)}, []string{"completed (goal.predicate)", "pass 3 of", "starts 3/50", "pass 3\n"}},
		{"version as a flag", 0, []string{"--version"}, []string{"loop-mcp "}},
		{"capped", 3, []string{"run", b.loop("capped", "count", never+"\nlimits: {max_passes: 2}")}, []string{"capped (cap.passes)", "loop-mcp approve", "--limit max_passes="}},
		{"capped by a flag", 3, []string{"run", b.loop("flag", "count", never), "--limit", "max_passes=1"}, []string{"capped (cap.passes)"}},
		{"stalled", 4, []string{"run", b.loop("stalled", "same", never+"\nstall: {passes: 1}")}, []string{"stalled (stall.", "--resume"}},
		{"failed", 8, []string{"run", b.loop("failed", "fail", never)}, []string{"failed (fail.failures)", "no luck today"}},
		{"waits for its client", 6, []string{"run", "client.loop.md"}, []string{"your_turn", "Do g.", "--output"}},
		{"waits for a person", 6, []string{"run", b.loop("human", "count", "until: {all: [{kind: human, question: Good?}]}")}, []string{"needs_input", "pass 1\n", "Good?", "loop-mcp approve"}},
		{"no such loop", 7, []string{"show", "nope-aaaa"}, []string{"no such loop", "nope-aaaa"}},
		{"no such loop to cancel", 7, []string{"cancel", "nope-aaaa"}, []string{"loop-mcp: no such loop: nope-aaaa; loop-mcp ls"}},
		{"an id that is a path", 7, []string{"show", "../../etc/passwd"}, []string{"no such loop"}},
		{"missing file", 1, []string{"run", "nope.loop.yaml"}, []string{"nope.loop.yaml", "no such file"}},
		{"broken file", 2, []string{"run", "broken.loop.yaml"}, []string{"broken.loop.yaml:3:1: limts", "limits"}},
		{"broken file to check", 2, []string{"validate", "broken.loop.yaml"}, []string{"broken.loop.yaml:3:1: limts", "3 | limts"}},
		{"unknown command", 2, []string{"runn"}, []string{"did you mean run?"}},
		{"unknown flag", 2, []string{"ls", "--nope"}, []string{"--nope"}},
		{"no argument", 2, []string{"run"}, []string{"usage: loop-mcp run FILE"}},
		{"unknown input", 2, []string{"run", "good.loop.yaml", "--input", "x=1"}, []string{"inputs.x"}},
		{"unknown limit", 2, []string{"run", "good.loop.yaml", "--limit", "max_pases=1"}, []string{"max_passes"}},
		{"unknown status", 2, []string{"ls", "--status", "dead"}, []string{"running"}},
		{"unknown view", 2, []string{"show", "ID", "--view", "x"}, []string{"view"}},
		{"two ways to serve", 2, []string{"serve", "--http", "0", "--detach"}, []string{"serve: --detach and --http do not go together"}},
		{"two forms of an answer", 2, []string{"run", "x", "--json", "--jsonl"}, []string{"run: --json and --jsonl do not go together"}},
		{"two ways to go on", 2, []string{"continue", "x", "--resume", "--reopen", "--output", "x"}, []string{"--resume and --reopen and --output do not go together"}},
		{"a denial and a limit", 2, []string{"approve", "x", "--deny", "--limit", "max_passes=1"}, []string{"--deny and --limit do not go together"}},
		{"a list and less of it", 2, []string{"allow", "--list", "--remove"}, []string{"--list and --remove do not go together"}},
		{"unknown log level", 2, []string{"ls", "--log-level", "loud"}, []string{"--log-level"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b.t = t
			args := test.args
			if args[1%len(args)] == "ID" {
				args = []string{"show", b.only("good"), "--view", "x"}
			}
			r := b.want(test.code, args, test.says...)
			if strings.Contains(r.stdout+r.stderr, "\x1b") {
				t.Errorf("control codes without a terminal: %q", r.stdout+r.stderr)
			}
		})
	}
}

// only is the id of the loop of that name.
func (b *box) only(name string) string {
	b.t.Helper()
	items, _ := b.answer(b.run("ls", "--json", "--limit", "100"))["items"].([]any)
	for _, item := range items {
		if loop, _ := item.(map[string]any); loop["name"] == name {
			return loop["loop_id"].(string)
		}
	}
	b.t.Fatalf("no loop %s in %v", name, items)
	return ""
}

func TestEveryStatusHasItsCode(t *testing.T) {
	want := map[loops.Status]int{loops.Completed: 0, loops.Capped: 3, loops.Stalled: 4, loops.Blocked: 4, loops.Cancelled: 5, loops.Failed: 8}
	for _, s := range loops.Statuses() {
		code, settled := want[s]
		if !settled {
			code = 6
		}
		if got := codeOfStatus(s); got != code || settled != s.Settled() {
			t.Errorf("%s ends with %d, want %d", s, got, code)
		}
	}
}

func TestRunPrintsOneLineAPass(t *testing.T) {
	b := newBox(t)
	r := b.want(0, []string{"run", b.loop("good", "count", scoreThree)})
	if got := regexp.MustCompile(`(?m)^pass \d of 10 .*(not met|met), predicate`).FindAllString(r.stderr, -1); len(got) != 3 {
		t.Errorf("%d lines for 3 passes: %s", len(got), r.stderr)
	}
	if lines := strings.Split(strings.TrimSpace(r.stdout), "\n"); len(lines) != 3 || lines[2] != "pass 3" {
		t.Errorf("stdout is not status and result: %q", r.stdout)
	}
}

func TestRunJSON(t *testing.T) {
	b := newBox(t)
	path := b.loop("good", "count", scoreThree)
	snapshot := b.answer(b.want(0, []string{"run", path, "--json"}))
	if snapshot["status"] != "completed" || snapshot["output"] != "pass 3" || number(snapshot["iteration"]) != "3" {
		t.Errorf("snapshot is %v", snapshot)
	}
	r := b.want(0, []string{"run", path, "--jsonl"})
	events, iterations := 0, 0
	var last map[string]any
	for line := range strings.Lines(r.stdout) {
		last = nil
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch {
		case last["type"] != nil:
			events++
		case last["started_at"] != nil:
			iterations++
		}
	}
	if iterations != 3 || events < 5 || last["status"] != "completed" {
		t.Errorf("%d iterations, %d events, last %v", iterations, events, last)
	}
	failed := b.run("show", "nope-aaaa", "--json")
	var problem struct {
		Error struct {
			Code    int
			Message string
		}
	}
	if err := json.Unmarshal([]byte(failed.stderr), &problem); err != nil || problem.Error.Code != 7 || failed.stdout != "" {
		t.Errorf("an error with --json: %v, stdout %q, stderr %q", err, failed.stdout, failed.stderr)
	}
}

func TestInterruptPausesAndResumeGoesOn(t *testing.T) {
	b := newBox(t)
	s := b.start("run", b.loop("slow", "slow", "until: {all: [{kind: predicate, expression: score >= 2}]}"))
	s.until("slow-")
	s.signal(syscall.SIGINT)
	s.until("pausing")
	b.write("go-on", "")
	r := s.wait()
	if r.code != 130 || !strings.Contains(r.stdout, "paused") || !strings.Contains(r.stderr, "--resume") {
		t.Errorf("exit code %d, want 130 and how to go on\nstdout: %s\nstderr: %s", r.code, r.stdout, r.stderr)
	}
	id := b.only("slow")
	b.want(1, []string{"continue", id}, "--resume")
	b.want(0, []string{"continue", id, "--resume"}, "completed (goal.predicate)")
	if n := number(b.answer(b.run("show", id, "--json"))["iteration"]); n != "2" {
		t.Errorf("%s iterations, want 2: the one under way was kept", n)
	}
}

func TestSecondInterruptLeavesAtOnce(t *testing.T) {
	b := newBox(t)
	s := b.start("run", b.loop("hang", "hang", "until: {all: [{kind: claim}]}"))
	b.untilFile("again")
	s.signal(syscall.SIGINT)
	s.until("pausing")
	s.signal(syscall.SIGINT)
	if r := s.wait(); r.code != 130 {
		t.Errorf("exit code %d, want 130\n%s", r.code, r.stderr)
	}
	id := b.only("hang")
	b.want(0, []string{"continue", id, "--resume"}, "completed", "done at last")
}

func TestKilledRunGoesOn(t *testing.T) {
	b := newBox(t)
	b.want(0, []string{"run", b.loop("good", "count", scoreThree)}, "completed") // the store has an index now
	s := b.start("run", b.loop("hang", "hang", "until: {all: [{kind: claim}]}"))
	b.untilFile("again")
	s.signal(syscall.SIGKILL)
	s.wait()
	if r := b.want(0, []string{"ls"}, "hang-"); r.stderr != "" {
		t.Errorf("a kill that cost nothing is warned of: %s", r.stderr)
	}
	b.want(0, []string{"continue", b.only("hang")}, "completed", "done at last")
}

func TestClientLoopFromTheCommandLine(t *testing.T) {
	b := newBox(t)
	b.write("frog.loop.md", "---\nname: frog\ngoal: a haiku\nuntil: {all: [{kind: predicate, expression: output.contains('frog')}]}\n---\nWrite {{ goal }}.\n")
	b.want(0, []string{"start", "frog.loop.md"}, "Write a haiku.")
	id := b.only("frog")
	b.want(6, []string{"continue", id, "--output", "a toad"}, "not met")
	b.write("out.txt", "a frog")
	b.want(0, []string{"continue", id, "--output-file", "out.txt"}, "completed (goal.predicate)")
	b.want(1, []string{"continue", id}, "--reopen")
	b.want(6, []string{"continue", id, "--reopen", "--message", "add a pond"}, "your_turn")
	b.want(0, []string{"cancel", id, "--reason", "enough"}, "cancelled")
	b.want(0, []string{"cancel", id}, "cancelled")
}

func TestApprove(t *testing.T) {
	b := newBox(t)
	b.want(6, []string{"run", b.loop("human", "count", "until: {all: [{kind: human, question: Good?}]}")})
	id := b.only("human")
	b.want(6, []string{"approve", id, "--deny", "--message", "longer"}, "pass 2/")
	b.want(0, []string{"approve", id}, "completed (goal.human)")
}

func TestApproveRaisesALimit(t *testing.T) {
	b := newBox(t)
	b.want(3, []string{"run", b.loop("capped", "count", scoreThree), "--limit", "max_passes=1"})
	id := b.only("capped")
	b.want(1, []string{"continue", id, "--resume"}, "cap_not_raised")
	b.want(0, []string{"approve", id, "--limit", "max_passes=5"}, "completed (goal.predicate)")
}

func TestDetachLeavesItToTheNext(t *testing.T) {
	b := newBox(t)
	b.want(0, []string{"start", b.loop("good", "count", scoreThree)}, "queued", "loop-mcp continue")
	id := b.only("good")
	b.want(0, []string{"pause", id, "--reason", "lunch"}, "paused")
	b.want(0, []string{"continue", id, "--resume", "--detach"}, "a process that works on loops")
	b.want(0, []string{"continue", id}, "completed")
}

func TestShowViews(t *testing.T) {
	b := newBox(t)
	b.want(0, []string{"run", b.loop("good", "count", scoreThree)})
	id := b.only("good")
	for view, text := range map[string]string{
		"summary": "stopped", "output": "pass 3", "iterations": "iteration 2 · pass 2", "iteration": "iteration 3",
		"verdicts": "met, predicate", "events": "settled", "spec": `"goal": "test"`, "why": "completed: goal.predicate",
		"transcript": "iteration 2 · assistant\n  pass 2", "diff": "output\n- 1: pass 2\n+ 1: pass 3",
	} {
		b.want(0, []string{"show", id, "--view", view}, text)
		answer := b.answer(b.want(0, []string{"show", id, "--view", view, "--json"}))
		if answer["loop_id"] != id || view != "summary" && answer["items"] == nil {
			t.Errorf("%s --json: %v", view, answer)
		}
	}
	b.want(0, []string{"show", id, "--view", "output", "--iteration", "2"}, "pass 2")
	b.want(2, []string{"show", id, "--view", "iteration", "--iteration", "9"}, "iteration")
	b.want(0, []string{"show", id, "--view", "diff", "--iteration", "3", "--compare-to", "1"}, "- 1: pass 1\n+ 1: pass 3")
	b.want(2, []string{"show", id, "--view", "diff", "--compare-to", "9"}, "compare_to")
	b.want(2, []string{"show", id, "--view", "why", "--compare-to", "1"}, "belongs to the view diff")
}

func TestForkFromTheCommandLine(t *testing.T) {
	b := newBox(t)
	b.want(3, []string{"run", b.loop("good", "count", scoreThree), "--limit", "max_passes=2"})
	id := b.only("good")
	r := b.want(0, []string{"fork", id, "--iteration", "1", "--message", "Go on.", "--limit", "max_passes=5", "--json"}, "files are not restored")
	fork := b.answer(r)
	if from, _ := fork["forked_from"].(map[string]any); fork["status"] != "completed" || from["loop_id"] != id || fmt.Sprint(from["iteration"]) != "1" {
		t.Errorf("the fork answers %v", fork)
	}
	b.want(0, []string{"show", fork["loop_id"].(string), "--view", "events"}, "forked from "+id+" after iteration 1", "Go on.")
	b.want(0, []string{"fork", id, "--until", `{"all":[{"kind":"claim"}]}`, "--request-id", "f1"}, "completed (goal.claimed)")
	b.want(0, []string{"fork", id, "--until", `{"all":[{"kind":"claim"}]}`, "--request-id", "f1", "--detach"}, "completed (goal.claimed)")
	b.want(6, []string{"fork", id, "--body", `{"kind":"client"}`, "--goal", "write a haiku"}, "your_turn", "write a haiku")
	b.want(7, []string{"fork", "nope-aaaa"}, "no such loop")
	b.want(1, []string{"fork", id, "--until", `{"all":[{"kind":"claim"}]}`, "--request-id", "f1", "--message", "else"}, "request_id_conflict")
	for flag, value := range map[string]string{"--iteration": "9", "--body": `{"knd":"client"}`, "--until": "[]", "--limit": "max_pases=3", "--message": " "} {
		b.want(2, []string{"fork", id, flag, value})
	}
}

func TestOutputCannotSteerTheTerminal(t *testing.T) {
	b := newBox(t)
	r := b.run("run", b.loop("escape", "escape", never), "--limit", "max_passes=1")
	if strings.Contains(r.stderr, "\x1b") || strings.Contains(r.stderr, "\x07") {
		t.Errorf("control codes of a body reach stderr: %q", r.stderr)
	}
	shown := b.run("show", b.only("escape"))
	if strings.Contains(shown.stdout, "\x1b") {
		t.Errorf("control codes of a body reach a person: %q", shown.stdout)
	}
}

func TestNothingIsMadeByLooking(t *testing.T) {
	b := newBox(t)
	b.write("x.loop.yaml", "goal: g\nbody: {kind: client}\nuntil: {all: [{kind: claim}]}\n")
	for _, args := range [][]string{{"ls"}, {"show", "a-aaaa"}, {"validate", "x.loop.yaml"}, {"schema"}, {"version"}, {"help"}, {"allow", "--list"}} {
		b.run(args...)
	}
	for _, name := range []string{"store", "config"} {
		if exists(filepath.Join(b.dir, name)) {
			t.Errorf("looking made the folder %s", name)
		}
	}
}

func TestValidate(t *testing.T) {
	b := newBox(t)
	good := b.write("good.loop.yaml", "goal: g {{ inputs.who }}\ninputs: {who: {type: string, required: true}}\nbody: {kind: client}\nuntil: {all: [{kind: predicate, expression: 'size(output) > 3'}]}\n")
	b.want(0, []string{"validate", good}, "valid")
	wrong := b.write("wrong.loop.yaml", "goal: g\nbody: {kind: client}\nuntil:\n  all:\n    - kind: predicate\n      expression: size(outptu) > 3\n")
	b.want(2, []string{"validate", good, wrong}, "wrong.loop.yaml:6:7: until.all[0].expression", "outptu")
	answer := b.answer(b.want(2, []string{"validate", "--json", good, wrong}))
	files, _ := answer["files"].([]any)
	if len(files) != 2 || files[0].(map[string]any)["valid"] != true || files[1].(map[string]any)["valid"] != false {
		t.Errorf("answer is %v", answer)
	}
	problems, _ := files[1].(map[string]any)["problems"].([]any)
	if len(problems) != 1 || number(problems[0].(map[string]any)["line"]) != "6" {
		t.Errorf("problems are %v", problems)
	}
}

func TestAllowAndTrustFiles(t *testing.T) {
	b := newBox(t)
	b.want(0, []string{"allow", "go", "npm"}, "allowed go")
	b.want(0, []string{"allow", "go"})
	b.want(0, []string{"allow", "--remove", "npm"}, "removed npm")
	if r := b.want(0, []string{"allow", "--list"}); r.stdout != "go\n" {
		t.Errorf("the list is %q", r.stdout)
	}
	// A path means a file, so it is kept absolute: a spec names it from another folder.
	b.want(0, []string{"allow", "./tool.sh"}, "allowed "+filepath.Join(b.dir, "tool.sh"))
	b.want(0, []string{"allow", "--remove", "./tool.sh"}, "removed")
	b.want(0, []string{"allow", "nope-prog"}, "not on PATH")
	b.want(0, []string{"allow", "--remove", "nope-prog"})
	if r := b.want(0, []string{"allow", "--list"}); r.stdout != "go\n" {
		t.Errorf("the list is %q", r.stdout)
	}
	info, err := os.Stat(filepath.Join(b.dir, "config/loop-mcp/allow"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of allowed programs: %v, %v", info, err)
	}
	b.want(2, []string{"allow", " go"}, "program")
	b.want(2, []string{"allow", "a\nb"}, "program")

	file := b.write("x.loop.yaml", "goal: g\nbody: {kind: client}\nuntil: {all: [{kind: claim}]}\n")
	b.want(0, []string{"trust", file}, "trusted "+file)
	b.want(0, []string{"trust", "--remove", "x.loop.yaml"}, "no longer trusted")
	b.want(2, []string{"trust", b.write("y.loop.yaml", "gaol: g\n")}, "y.loop.yaml:1")
}

func TestHelpIsComplete(t *testing.T) {
	root := newRoot(&app{env: os.Getenv})
	for _, cmd := range root.Commands() {
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s has no summary or no example", cmd.Name())
		}
		if cmd.Flags().Lookup("json") == nil && cmd.Name() != "serve" {
			t.Errorf("%s has no --json", cmd.Name())
		}
	}
	b := newBox(t)
	b.want(0, []string{"--help"}, "serve", "run", "start", "ls", "show", "watch", "continue", "approve", "pause", "cancel", "validate", "schema", "allow", "trust", "version", "completion")
	b.want(0, []string{"completion", "bash"}, "loop-mcp")
	b.want(0, []string{"version"}, "loop-mcp ")
	b.want(0, nil, "loop-mcp setup claude-code")
}

func TestIDsAreCompleted(t *testing.T) {
	b := newBox(t)
	b.want(0, []string{"start", b.loop("good", "count", scoreThree)})
	b.want(0, []string{"__complete", "show", ""}, b.only("good"))
}

func TestRunLeavesOtherLoopsAlone(t *testing.T) {
	b := newBox(t)
	b.want(0, []string{"start", b.loop("rests", "count", scoreThree)})
	other := b.only("rests")
	b.want(0, []string{"run", b.loop("good", "count", scoreThree)}, "completed")
	if shown := b.want(0, []string{"show", other}, "queued"); strings.Contains(shown.stdout, "elapsed 0s/") {
		t.Errorf("a loop that waits does not get older:\n%s", shown.stdout)
	}
}
