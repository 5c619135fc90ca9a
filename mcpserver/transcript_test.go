package mcpserver

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/loop-mcp/loops"
)

func TestInspectTranscript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, id := worked(t, 3, 10)
		all := w.ok("loop_inspect", args("loop_id", id, "view", "transcript"))
		all.want(t, "items.0.iteration", 1, "items.0.role", "user", "items.1.role", "assistant", "items.1.text", "no 1 xxxxxxxxxx",
			"items.2.role", "verdict", "items.2.tool", "contains", "items.3.iteration", 2, "items.8.text", "met: output has \"ok\": true\n\nsay ok", "items.9", nil, "next_page", nil)
		for at, text := range map[string]string{"items.0.text": "say ok", "items.3.text": "What the last attempt came to."} {
			if got := fmt.Sprint(all.get(at)); !strings.Contains(got, text) {
				t.Errorf("%s is %q, want %q in it", at, got, text)
			}
		}
		one := w.ok("loop_inspect", args("loop_id", id, "view", "transcript", "iteration", 2))
		one.want(t, "items.0.iteration", 2, "items.2.role", "verdict", "items.3", nil, "next_page", nil)
		var texts []string
		page := ""
		for range 20 {
			more := []any{"loop_id", id, "view", "transcript", "limit", 2, "max_chars", 5000}
			if page != "" {
				more = append(more, "page", page)
			}
			r := w.ok("loop_inspect", args(more...))
			for _, item := range r.get("items").([]any) {
				texts = append(texts, item.(map[string]any)["text"].(string))
			}
			next, ok := r.get("next_page").(string)
			if page = next; !ok {
				break
			}
		}
		for i, text := range texts {
			if want := all.get(fmt.Sprintf("items.%d.text", i)); text != want {
				t.Errorf("item %d of the pages is %q, want %q", i, text, want)
			}
		}
		if len(texts) != 9 {
			t.Errorf("%d items on the pages, want 9", len(texts))
		}
		w.fails("loop_inspect", args("loop_id", id, "view", "transcript", "iteration", 9), "iterations 1 to 3")
	})
}

// A resource begins in the middle of an iteration where a page ended.
func TestTranscriptItemsGoOnInsideAnIteration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, id := worked(t, 2, 10)
		first, next, more, err := transcriptItems(t.Context(), w.e, loops.ID(id), place{}, 4)
		if err != nil || !more || len(first) != 4 || next != (place{2, 1}) {
			t.Fatalf("%d items, next %+v, more %t, %v", len(first), next, more, err)
		}
		rest, _, more, err := transcriptItems(t.Context(), w.e, loops.ID(id), next, 100)
		if err != nil || more || len(rest) != 2 || rest[0].Role != loops.FromAssistant {
			t.Fatalf("rest %+v, more %t, %v", rest, more, err)
		}
	})
}

func TestLongTextsHaveWhatShortOnesLeave(t *testing.T) {
	items := []transcriptItem{{Text: strings.Repeat("a", 5000)}, {Text: "short"}, {Text: strings.Repeat("b", 900)}, {Text: "tiny"}}
	if got := shares(items, 2009); got != 1100 {
		t.Errorf("each may have %d bytes, want 1100: what 5, 900 and 4 bytes leave of 2009", got)
	}
	if got := shares(items[1:2], 100); got < 5 {
		t.Errorf("a text that fits may have %d bytes", got)
	}
	if got := shares(nil, 100); got != 100 {
		t.Errorf("no texts: %d", got)
	}
}
