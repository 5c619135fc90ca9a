package loopstest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
)

// TestLiveLog is the suite that every [loops.LiveLog] passes. open returns two
// views of one log, as two processes have them, and closes them in a cleanup of
// its t. Each test runs in a bubble of its own.
func TestLiveLog(t *testing.T, open func(t *testing.T) (here, there loops.LiveLog)) {
	tests := []struct {
		name string
		run  func(t *testing.T, here, there loops.LiveLog)
	}{
		{"what is said is heard as it comes", testLiveComes},
		{"who comes late hears the last minute", testLiveReplay},
		{"each loop is heard alone", testLiveAlone},
		{"a flood is cut and does not block", testLiveFlood},
		{"nothing is heard twice", testLiveOnce},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := open(t)
				test.run(t, here, there)
			})
		})
	}
}

// heard collects what a reader was told.
type heard struct {
	lines []loops.LiveLine
	stop  func()
}

// hear reads in the background. What has been said is there after a
// [synctest.Wait] or, where a server is between, after a moment.
func hear(t *testing.T, log loops.LiveLog, id loops.ID) *heard {
	ctx, cancel := context.WithCancel(t.Context())
	h, ended := &heard{}, make(chan struct{})
	go func() {
		defer close(ended)
		for l, err := range log.Follow(ctx, id) {
			if err != nil {
				t.Errorf("Follow: %v", err)
				return
			}
			h.lines = append(h.lines, l)
		}
	}()
	h.stop = func() { cancel(); <-ended }
	t.Cleanup(h.stop)
	moment()
	return h
}

// moment lets a second of the bubble pass.
func moment() { time.Sleep(time.Second); synctest.Wait() }

// told returns all that was heard as one text, with tools in brackets.
func (h *heard) told() string {
	synctest.Wait()
	var b strings.Builder
	for _, l := range h.lines {
		b.WriteString(l.Text)
		if l.Tool != "" {
			fmt.Fprintf(&b, "<%s>", l.Tool)
		}
	}
	return b.String()
}

func say(log loops.LiveLog, id loops.ID, start int, texts ...string) {
	for _, text := range texts {
		log.Publish(id, loops.LiveLine{At: time.Now(), Start: start, Live: loops.Live{Text: text}})
	}
}

func testLiveComes(t *testing.T, here, there loops.LiveLog) {
	h := hear(t, there, "live-aaaa")
	said := time.Now()
	say(here, "live-aaaa", 3, "Let me ", "look.")
	here.Publish("live-aaaa", loops.LiveLine{At: said, Start: 3, Live: loops.Live{Tool: "read_file"}})
	here.Publish("live-aaaa", loops.LiveLine{At: said, Start: 3}) // says nothing
	say(here, "live-aaaa", 3, "Gr\xc3", "\xbc\xc3\x9fe \xe4", "\xb8", "\x96.")
	moment()
	same(t, "what was heard", "Let me look.<read_file>Grüße 世.", h.told())
	for _, l := range h.lines {
		if l.Start != 3 || !l.At.Equal(said) {
			t.Errorf("heard %+v, want start 3 at %s", l, said)
		}
	}
	h.stop()
	say(here, "live-aaaa", 3, "nobody listens")
}

func testLiveReplay(t *testing.T, here, there loops.LiveLog) {
	say(here, "live-aaaa", 1, "long ago ")
	time.Sleep(50 * time.Second)
	say(here, "live-aaaa", 1, "lately ")
	time.Sleep(20 * time.Second)
	say(here, "live-aaaa", 2, "just now ")
	moment()
	h := hear(t, there, "live-aaaa")
	same(t, "what is kept", "lately just now ", h.told())
	say(here, "live-aaaa", 2, "at last")
	moment()
	same(t, "what was heard", "lately just now at last", h.told())
	time.Sleep(2 * time.Minute)
	same(t, "what is left", "", hear(t, there, "live-aaaa").told())
}

func testLiveAlone(t *testing.T, here, there loops.LiveLog) {
	a, b := hear(t, there, "live-aaaa"), hear(t, here, "live-bbbb")
	for n := range 20 {
		say(here, "live-aaaa", 1, fmt.Sprint("a", n, " "))
		say(there, "live-bbbb", 1, fmt.Sprint("b", n, " "))
		time.Sleep(20 * time.Millisecond)
	}
	moment()
	for prefix, h := range map[string]*heard{"a": a, "b": b} {
		var want strings.Builder
		for n := range 20 {
			fmt.Fprint(&want, prefix, n, " ")
		}
		same(t, "loop "+prefix, want.String(), h.told())
	}
	same(t, "a loop that says nothing", "", hear(t, there, "live-cccc").told())
}

func testLiveFlood(t *testing.T, here, there loops.LiveLog) {
	h := hear(t, there, "live-aaaa")
	began := time.Now()
	for n := range 3000 {
		say(here, "live-aaaa", 1, fmt.Sprintf("line %d of a flood\n", n))
	}
	if took := time.Since(began); took > 0 {
		t.Errorf("Publish waited for %s", took)
	}
	moment()
	told := h.told()
	if !strings.HasPrefix(told, "line 0 of a flood\nline 1 of a flood\n") {
		t.Errorf("heard %.40q at first", told)
	}
	if !strings.Contains(told, "line 2999 of") && !strings.Contains(told, "bytes left out") {
		t.Error("the text is cut, and nothing says so")
	}
	say(here, "live-aaaa", 1, "the end")
	moment()
	if !strings.HasSuffix(h.told(), "the end") {
		t.Error("after a flood nothing more is heard")
	}
}

func testLiveOnce(t *testing.T, here, there loops.LiveLog) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	go func() {
		for n := range 100 {
			say(here, "live-aaaa", 1, fmt.Sprint(n, " "))
			time.Sleep(10 * time.Millisecond)
		}
	}()
	time.Sleep(500 * time.Millisecond)
	var got, want strings.Builder
	for l, err := range there.Follow(ctx, "live-aaaa") {
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString(l.Text)
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Fatalf("Follow ended before its context: %v", ctx.Err())
	}
	for n := range 100 {
		fmt.Fprint(&want, n, " ")
	}
	same(t, "what was heard", want.String(), got.String())
}
