// Command writer stands in for a writing agent: each pass it improves the draft
// in one respect, and reports the new text with its score as JSON.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// rule is one thing that a good text has, worth 30 points.
type rule struct {
	holds   func(text string) bool
	improve func(text string) string
}

var filler = []string{"Basically, ", "really ", "very ", "quite ", "simply "}

var rules = []rule{
	{holds: func(text string) bool { return strings.HasPrefix(text, "# ") },
		improve: func(text string) string { return "# A faster cache\n\n" + text }},
	{holds: func(text string) bool { return strings.ContainsAny(text, "0123456789") },
		improve: func(text string) string { return text + " A lookup takes 3 µs instead of 40." }},
	{holds: func(text string) bool { return clean(text) == text }, improve: clean},
}

func clean(text string) string {
	for _, word := range filler {
		text = strings.ReplaceAll(text, word, "")
	}
	return text
}

func score(text string) (points int) {
	for _, r := range rules {
		if r.holds(text) {
			points += 30
		}
	}
	return points
}

func main() {
	draft := flag.String("draft", "draft.txt", "where the first pass begins")
	flag.Parse()
	if err := refine(*draft, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "writer:", err)
		os.Exit(1)
	}
}

func refine(draft string, in io.Reader, out io.Writer) error {
	last, err := io.ReadAll(in)
	if err == nil && len(last) == 0 {
		last, err = os.ReadFile(draft)
	}
	if err != nil {
		return err
	}
	text := strings.TrimSpace(string(last))
	for _, r := range rules {
		if !r.holds(text) {
			text = r.improve(text)
			break
		}
	}
	return json.NewEncoder(out).Encode(map[string]any{"output": text, "score": score(text)})
}
