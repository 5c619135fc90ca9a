package research

import (
	"os"
	"strings"
	"testing"

	"example.com/loop-mcp/examples/internal/exampletest"
)

func TestResearch(t *testing.T) {
	program := exampletest.Build(t).Without("ANTHROPIC_API_KEY")
	t.Cleanup(func() { os.Remove("report.md") })
	s, code := program.Run(t, "--config", "config.yaml", "research.loop.yaml")
	if code != 0 || s.Status != "completed" || s.Stop.Reason != "goal.judge" || s.Pass != 2 {
		t.Fatalf("exit code %d, %+v; want 0, completed by its judge in pass 2", code, s)
	}
	report, err := os.ReadFile("report.md")
	if err != nil || !strings.Contains(string(report), "6.9 million") || strings.Contains(string(report), "4.2 million") {
		t.Errorf("the report says %q, %v", report, err)
	}
	if s.Usage.CostUSD <= 0 || s.Usage.CostUSD > 0.5 || s.Usage.ToolCalls < 6 {
		t.Errorf("spent %+v", s.Usage)
	}
	verdicts, _, code := program.Print(t, "show", s.LoopID, "--view", "verdicts")
	if code != 0 || !strings.Contains(verdicts, "use the audited cost") {
		t.Errorf("exit code %d: %s", code, verdicts)
	}
}

func TestBudgetHolds(t *testing.T) {
	program := exampletest.Build(t).Without("ANTHROPIC_API_KEY")
	t.Cleanup(func() { os.Remove("report.md") })
	s, code := program.Run(t, "--config", "config.yaml", "--limit", "max_cost_usd=0.01", "research.loop.yaml")
	if code != 3 || s.Stop.Reason != "cap.cost" || s.Usage.CostUSD > 0.01 {
		t.Errorf("exit code %d, %+v; want 3, capped below one cent", code, s)
	}
}
