package refinedraft

import (
	"testing"

	"example.com/loop-mcp/examples/internal/exampletest"
)

func TestRefineDraft(t *testing.T) {
	program := exampletest.Build(t)
	s, code := program.Run(t, "refine-draft.loop.yaml", "--limit", "max_passes=1")
	if code != 3 || s.Status != "capped" || s.Output == "" {
		t.Errorf("exit code %d, %+v; want 3, capped with an output", code, s)
	}
	s, code = program.Run(t, "refine-draft.loop.yaml")
	if code != 0 || s.Status != "completed" || s.Stop.Reason != "goal.predicate" || s.Pass != 3 {
		t.Errorf("exit code %d, %+v; want 0, completed by its predicate in pass 3", code, s)
	}
	const want = "# A faster cache\n\nour new cache is fast, and it is better. A lookup takes 3 µs instead of 40."
	if s.Output != want {
		t.Errorf("the result is %q, want %q", s.Output, want)
	}
}

func TestJudgedByAModel(t *testing.T) {
	program := exampletest.Build(t).Without("ANTHROPIC_API_KEY")
	s, code := program.Run(t, "--config", "config.yaml", "judged.loop.yaml")
	if code != 0 || s.Status != "completed" || s.Stop.Reason != "goal.judge" || s.Pass != 3 {
		t.Errorf("exit code %d, %+v; want 0, completed by its judge in pass 3", code, s)
	}
	if want := "The new cache is faster: a lookup takes 3 µs instead of 40 µs."; s.Output != want {
		t.Errorf("the result is %q, want %q", s.Output, want)
	}
}
