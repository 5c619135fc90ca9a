package mcptools

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"example.com/loop-mcp/loops/agent"
)

func TestResultsInWords(t *testing.T) {
	for name, tt := range map[string]struct {
		result string
		want   agent.Outcome
	}{
		"text":                {`{"content":[{"type":"text","text":"a"},{"type":"text","text":"b\n"}]}`, agent.Outcome{Text: "a\nb\n"}},
		"nothing":             {`{"content":[]}`, agent.Outcome{}},
		"a failure":           {`{"content":[{"type":"text","text":"no"}],"isError":true}`, agent.Outcome{Text: "no", Error: true}},
		"an image":            {`{"content":[{"type":"image","data":"aGVsbG8=","mimeType":"image/png"}]}`, agent.Outcome{Text: "[image/png, 5 bytes]"}},
		"sound without kind":  {`{"content":[{"type":"audio","data":""}]}`, agent.Outcome{Text: "[audio, 0 bytes]"}},
		"a link":              {`{"content":[{"type":"resource_link","uri":"file:///a","name":"a.txt","mimeType":"text/plain","size":12}]}`, agent.Outcome{Text: "[link to a.txt file:///a, text/plain, 12 bytes]"}},
		"an inlined text":     {`{"content":[{"type":"resource","resource":{"uri":"file:///a","mimeType":"text/plain","text":"hello"}}]}`, agent.Outcome{Text: "[file:///a, text/plain]\nhello"}},
		"an inlined file":     {`{"content":[{"type":"resource","resource":{"uri":"file:///a","blob":"aGVsbG8="}}]}`, agent.Outcome{Text: "[file:///a, data, 5 bytes]"}},
		"structured":          {`{"content":[],"structuredContent":{"a":1e21}}`, agent.Outcome{Text: `{"a":1e21}`}},
		"structured and text": {`{"content":[{"type":"text","text":"a is 1"}],"structuredContent":{"a":1}}`, agent.Outcome{Text: "a is 1"}},
		"structured, image":   {`{"content":[{"type":"image","data":"aGk=","mimeType":"image/gif"}],"structuredContent":{"a":1}}`, agent.Outcome{Text: "{\"a\":1}\n[image/gif, 2 bytes]"}},
		"a kind of tomorrow":  {`{"content":[{"type":"hologram","data":"x"}]}`, agent.Outcome{Text: `[content of the unknown kind "hologram", 30 bytes]`}},
		"an unreadable part":  {`{"content":[{"type":"text","text":5},{"type":"text","text":"b"}]}`, agent.Outcome{Text: "[something unreadable, 24 bytes]\nb"}},
		"no result":           {`["x"]`, agent.Outcome{Error: true, Text: `the server answered with something that is no result of a tool: ["x"]`}},
		"NUL":                 {`{"content":[{"type":"text","text":"a\u0000b"}]}`, agent.Outcome{Text: "a\uFFFDb"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := outcomeOf(json.RawMessage(tt.result)); got != tt.want {
				t.Errorf("got %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestAResultIsCutAndSaysSo(t *testing.T) {
	for _, text := range []string{strings.Repeat("x", maxText), strings.Repeat("x", maxText+1), "x" + strings.Repeat("ä", maxText/2)} {
		got := bounded(text)
		head, tail, cut := strings.Cut(got, "\n[cut here: the result is ")
		if cut != (len(text) > maxText) || len(head) > maxText || !utf8.ValidString(got) {
			t.Errorf("%d bytes became %d, %q", len(text), len(head), tail)
		}
		if !strings.HasPrefix(text, head) {
			t.Error("the head is another")
		}
	}
}

func FuzzResult(f *testing.F) {
	f.Add(`{"content":[{"type":"text","text":"a"}]}`)
	f.Add(`{"content":[{"type":"resource","resource":{"uri":"a"}},null,5]}`)
	f.Fuzz(func(t *testing.T, raw string) {
		if got := outcomeOf(json.RawMessage(raw)); !utf8.ValidString(got.Text) || strings.ContainsRune(got.Text, 0) {
			t.Errorf("%q became %q", raw, got.Text)
		}
	})
}
