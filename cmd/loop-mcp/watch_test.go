package main

import (
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"example.com/loop-mcp/loops"
)

func TestWatch(t *testing.T) {
	b := newBox(t)
	b.want(0, []string{"watch"}, "No loops")
	b.want(7, []string{"watch", "nope-aaaa"}, "no such loop")
	b.want(2, []string{"watch", "--json"}, "watch: --json needs the ID")
	b.want(0, []string{"run", b.loop("good", "count", scoreThree)})
	b.want(0, []string{"watch"}, "No loop is left")
	id := b.only("good")
	b.want(0, []string{"watch", id}, "pass 2 of", "completed (goal.predicate)", "pass 3\n")
	if answer := b.answer(b.want(0, []string{"watch", id, "--json"})); answer["status"] != "completed" {
		t.Errorf("answered %v", answer)
	}
	b.want(6, []string{"run", b.loop("human", "count", "until: {all: [{kind: human, question: Good?}]}")})
	b.want(6, []string{"watch", b.only("human")}, "waits for a person", "loop-mcp approve")
}

func TestWatchWorksOnNothing(t *testing.T) {
	b := newBox(t)
	b.want(0, []string{"start", b.loop("rests", "count", scoreThree)})
	id := b.only("rests")
	one := b.start("watch", id)
	one.until(id)
	one.signal(syscall.SIGINT)
	if r := one.wait(); r.code != 130 || !strings.Contains(r.stdout, "queued") {
		t.Errorf("watch %s: exit code %d\n%s%s", id, r.code, r.stdout, r.stderr)
	}
	all := &started{b: b, cmd: b.command("watch"), stderr: newWatched()}
	all.cmd.Stdout = all.stderr // what is waited for
	if err := all.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	all.until(id + " queued")
	all.signal(syscall.SIGINT)
	if r := all.wait(); r.code != 130 {
		t.Errorf("watch: exit code %d\n%s", r.code, r.stderr)
	}
	b.want(0, []string{"continue", id}, "completed")
}

// TestWatchALoopThatAnotherProcessRuns shows it to its end and is in nobody's way.
func TestWatchALoopThatAnotherProcessRuns(t *testing.T) {
	b := newBox(t)
	worker := b.start("run", b.loop("slow", "slow", scoreThree))
	for !strings.Contains(b.run("ls").stdout, "slow-") {
		continue // it is about to be started
	}
	watching := b.start("watch", b.only("slow"))
	b.write("go-on", "")
	if r := watching.wait(); r.code != 0 || !strings.Contains(r.stdout, "completed") {
		t.Errorf("watch ended with %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if r := worker.wait(); r.code != 0 {
		t.Errorf("run ended with %d: %s", r.code, r.stderr)
	}
}

func TestLinesOfText(t *testing.T) {
	if got := wrap("the quick brown fox jumps over 世界世界世界", 12); strings.Join(got, "|") != "the quick|brown fox|jumps over|世界世界世界" {
		t.Errorf("wrapped into %q", got)
	}
	for text, want := range map[string]string{"short": "short", "exactly ten": "exactly t…", "世界世界世界": "世界世界…", "e\u0301e\u0301e\u0301": "e\u0301e\u0301e\u0301", "": ""} {
		if got := clipColumns(text, 10); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
	if got := wrap(strings.Repeat("x", 25), 10); len(got) != 3 || got[2] != "xxxxx" {
		t.Errorf("a word longer than a line becomes %q", got)
	}
	for _, columns := range []int{1, 2, 19} {
		for _, text := range []string{"", " ", "   x   ", "世界 e\u0301", strings.Repeat("世 ", 40)} {
			for _, row := range wrap(text, columns) {
				if fits(row, max(columns, 2)) != len(row) {
					t.Errorf("%q in %d columns has the row %q", text, columns, row)
				}
			}
		}
	}
}

func TestTalkIsTheEndOfTheStartUnderWay(t *testing.T) {
	var said talk
	say := func(start int, text, tool string) {
		said.add(loops.LiveLine{Start: start, Live: loops.Live{Text: text, Tool: tool}})
	}
	show := func(count int) string { return strings.Join(said.rows(count, 20), "|") }
	say(1, "of an old start", "")
	say(2, "Let me ", "")
	say(2, "look.", "")
	say(2, "", "read\x1b[2J_file")
	say(1, "too late", "")
	say(2, "one\r\n\ttwo\x1b]0;evil\x07\n\nthree \u202eevil and more than one row holds\n", "")
	if got := show(8); got != "Let me look.|› read[2J_file|one|    two]0;evil|three evil and more|than one row holds" {
		t.Errorf("shown is %q", got)
	}
	if got := show(2); got != "three evil and more|than one row holds" {
		t.Errorf("two rows are %q", got)
	}
	if got := show(0); got != "" {
		t.Errorf("no rows are %q", got)
	}
	say(3, "", "")
	if got := show(8); got != "" {
		t.Errorf("a new start shows %q", got)
	}
	for range 1000 {
		say(3, "世界 and a lot of text after it ", "")
	}
	if len(said.text) > maxTalk || !utf8.ValidString(said.text) {
		t.Errorf("%d bytes are kept", len(said.text))
	}
}

func TestScreenShowsWhatIsSaidAndStaysInItsWindow(t *testing.T) {
	var out strings.Builder
	columns, rows := 60, 24
	s := newScreen(&out, func() (int, int) { return columns, rows }, false, func(loops.State) time.Duration { return time.Minute })
	l := loops.Loop{State: loops.State{ID: "talk-aaaa", Status: loops.Running, Limits: loops.DefaultLimits()}}
	l.Ledger.Starts = 2
	s.update(l)
	s.say(loops.LiveLine{Start: 2, Live: loops.Live{Text: strings.Repeat("世界 words\n", 30)}})
	if !strings.Contains(out.String(), "elapsed 1m/24h") {
		t.Errorf("drawn is %q", out.String())
	}
	for _, rows = range []int{24, 10, 4, 1} {
		s.tick()
		block := s.block()
		if len(block) > max(rows-1, 3) {
			t.Errorf("%d lines in a window of %d rows", len(block), rows)
		}
		for _, line := range block {
			if fits(line, columns-1) != len(line) {
				t.Errorf("a line is too wide: %q", line)
			}
		}
	}
	rows = 24
	if text := strings.Join(s.block(), "\n"); strings.Count(text, "世界 words") != maxRows {
		t.Errorf("shown is %s", text)
	}
	l.Ledger.Starts = 3
	s.update(l)
	if text := strings.Join(s.block(), "\n"); strings.Contains(text, "words") {
		t.Errorf("after the start: %s", text)
	}
	s.say(loops.LiveLine{Start: 3, Live: loops.Live{Text: "new"}})
	l.Status = loops.Waiting
	s.update(l)
	if text := strings.Join(s.block(), "\n"); strings.Contains(text, "new") {
		t.Errorf("while it waits: %s", text)
	}
}
