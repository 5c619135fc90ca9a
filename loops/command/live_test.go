package command

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops"
)

// spoken returns what live text is made of a process's stdout that arrives in
// pieces of the given size.
func spoken(stdout string, size int) (pieces []loops.Live) {
	s := (&liveLines{queue: make(chan loops.Live)}).stream()
	s.agent.emit = func(l loops.Live) { pieces = append(pieces, l) }
	for piece := range slices.Chunk([]byte(stdout), size) {
		_, _ = s.Write(piece) // never fails
	}
	s.flush()
	return pieces
}

// joined is live text as a person sees it, and how many heartbeats it had.
func joined(pieces []loops.Live) (string, int) {
	var lines []loops.LiveLine
	beats := 0
	for _, p := range pieces {
		if p == (loops.Live{}) {
			beats++
			continue
		}
		lines = append(lines, loops.LiveLine{Live: p})
	}
	return loops.Said(lines), beats
}

// The recordings are what the programs printed for one tool call and an answer,
// and for a key that is refused.
func TestAgentsAreReadableWhileTheyWork(t *testing.T) {
	const first, last = "I look at the folder first.\n", "There is one file, **hello**.\nAll of it is fine; nothing else needs to be done in this folder as far as I can see."
	tests := []struct {
		file, want string
		beats      bool
	}{
		{"live-claude.txt", first + "› Bash\n" + last + "\n", true},
		{"live-claude-partial.txt", first + "› Bash\n" + last, true},
		{"live-codex.txt", first + "› command_execution\n" + last + "\n", true},
		{"live-gemini.txt", first + "› run_shell_command\n" + last, true},
		{"live-opencode.txt", first + "› bash\n" + last + "\n", true},
		{"live-claude-error.txt", strings.Repeat("error: authentication_failed\n", 2), true},
		{"live-codex-error.txt", "error: Reconnecting... 1/5 (unexpected status 401 Unauthorized: invalid x-api-key, url: http", true},
		{"live-gemini-error.txt", `error: [API Error: {"error":{"code":401,"message":"invalid x-api-key","status":"authentication_error"}}]` + "\n", true},
		{"live-opencode-error.txt", "error: invalid x-api-key\n", false},
		{"claude-json.txt", "Fixed the parser.\n", false},
	}
	for _, test := range tests {
		data, err := os.ReadFile(filepath.Join("testdata", test.file))
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{1, 7, 1 << 20} {
			got, beats := joined(spoken(string(data), size))
			if strings.HasSuffix(test.want, "http") { // the rest is full of numbers
				got = got[:min(len(got), len(test.want))]
			}
			if diff := cmp.Diff(test.want, got); diff != "" || (beats > 0) != test.beats {
				t.Errorf("%s in pieces of %d: %d heartbeats, (-want +got)\n%s", test.file, size, beats, diff)
			}
		}
	}
}

func TestLiveTextOfOtherPrograms(t *testing.T) {
	const (
		claude   = `{"type":"system","subtype":"init","session_id":"s"}` + "\n"
		codex    = `{"type":"thread.started","thread_id":"t"}` + "\n"
		gemini   = `{"type":"init","session_id":"s","model":"m"}` + "\n"
		opencode = `{"type":"step_start","sessionID":"s","part":{}}` + "\n"
	)
	tests := []struct{ name, stdout, want string }{
		{"plain lines", "one\n\n  two \nthree", "one\ntwo\nthree\n"},
		{"JSON of nobody we know", `{"type":"text","part":{"text":"x"}}` + "\n", `{"type":"text","part":{"text":"x"}}` + "\n"},
		{"a result object", `{"output":"x","done":true}`, `{"output":"x","done":true}` + "\n"},
		{"half an object", `{"type":"assist`, `{"type":"assist` + "\n"},
		{"an unknown event", claude + `{"type":"new_thing","session_id":"s"}`, `{"type":"new_thing","session_id":"s"}` + "\n"},
		{"text between events", claude + "Warning: no TTY\n", "Warning: no TTY\n"},
		{"an event whose parts have other types", claude + `{"type":"assistant","session_id":"s","message":"x"}`, `{"type":"assistant","session_id":"s","message":"x"}` + "\n"},
		{"events of another agent", codex + `{"type":"assistant","message":{"content":[{"type":"text","text":"no"}]}}`, `{"type":"assistant","message":{"content":[{"type":"text","text":"no"}]}}` + "\n"},
		{"the result alone", `{"type":"result","subtype":"success","session_id":"s","result":"All is done."}`, "All is done.\n"},
		{"the result of a failure", claude + `{"type":"assistant","message":{"content":[{"type":"text","text":"hm"}]}}` + "\n" + `{"type":"result","is_error":true,"session_id":"s","result":"no credit"}`, "hm\nno credit\n"},
		{"escape codes in what an agent says", claude + `{"type":"assistant","message":{"content":[{"type":"text","text":"\u001b[31mred\u001b]0;x\u0007"}]}}`, "red\n"},
		{"a name that is a text", codex + `{"type":"item.started","item":{"id":"1","type":"mcp_tool_call","server":"files","tool":"read\u001b[2J"}}`, "› files.read\n"},
		{"a call is named once", codex + strings.Repeat(`{"type":"item.updated","item":{"id":"1","type":"web_search"}}`+"\n", 3) + `{"type":"item.started","item":{"id":"2","type":"web_search"}}`, "› web_search\n› web_search\n"},
		{"reasoning is not shown", codex + `{"type":"item.completed","item":{"id":"1","type":"reasoning","text":"hm"}}`, ""},
		{"two messages in deltas", gemini + `{"type":"message","role":"assistant","content":"one","delta":true}` + "\n" +
			`{"type":"tool_result","tool_id":"x"}` + "\n" + `{"type":"message","role":"assistant","content":"two","delta":true}`, "one\ntwo"},
		{"an empty name", opencode + `{"type":"tool_use","sessionID":"s","part":{"tool":""}}`, ""},
		{"a long event of an agent", claude + `{"type":"user","message":"` + strings.Repeat("x", 300_000) + `"}` + "\nnext", "next\n"},
		{"a long line of nobody we know", `{"a":"` + strings.Repeat("x", 300_000) + `"}`, `{"a":"` + strings.Repeat("x", liveLine-6) + "…\n"},
	}
	for _, test := range tests {
		got, _ := joined(spoken(test.stdout, 100))
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestLongAnswerIsShownWhole(t *testing.T) {
	text := strings.Repeat("Grüße, ", 3000)
	pieces := spoken(`{"type":"system","session_id":"s"}`+"\n"+`{"type":"assistant","message":{"content":[{"type":"text","text":"`+text+`"}]}}`, 512)
	for _, p := range pieces {
		if len(p.Text) > livePiece {
			t.Errorf("a piece of %d bytes", len(p.Text))
		}
	}
	if got, _ := joined(pieces); got != text+"\n" {
		t.Errorf("%d bytes of %d", len(got), len(text)+1)
	}
}

func FuzzLiveText(f *testing.F) {
	files, err := filepath.Glob("testdata/live-*.txt")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, stdout string) {
		whole, _ := joined(spoken(stdout, 1<<20))
		parts, _ := joined(spoken(stdout, 3))
		if whole != parts {
			t.Errorf("it depends on how the bytes arrive: %q and %q", whole, parts)
		}
		if strings.ContainsAny(whole, "\x1b\x00\u009b\r") {
			t.Errorf("control codes are left in %q", whole)
		}
	})
}
