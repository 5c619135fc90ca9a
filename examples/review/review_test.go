package review

import (
	"encoding/json"
	"testing"

	"example.com/loop-mcp/examples/internal/exampletest"
)

func TestReview(t *testing.T) {
	program := exampletest.Build(t).Without("ANTHROPIC_API_KEY")
	s, code := program.Run(t, "--config", "config.yaml", "review.loop.yaml")
	if code != 0 || s.Status != "completed" || s.Stop.Reason != "goal.predicate" || s.Pass != 1 || s.Iteration != 3 {
		t.Fatalf("exit code %d, %+v; want 0, completed in three iterations of one pass", code, s)
	}
	var review struct {
		Verdict  string
		Findings []struct{ File, Severity string }
	}
	if err := json.Unmarshal([]byte(s.Output), &review); err != nil || review.Verdict != "request_changes" || len(review.Findings) != 3 {
		t.Errorf("%+v, %v in %s", review, err, s.Output)
	}
}
