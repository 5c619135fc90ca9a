package audit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestACallWithoutAnAnswerAndAProcessThatStaysAreAnomalies: each was only in the
// log of a run.
func TestACallWithoutAnAnswerAndAProcessThatStaysAreAnomalies(t *testing.T) {
	for op, want := range map[string]string{OpSilent: "neither an answer nor an error", OpLeft: "after the end of the run", OpStop: ""} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, HistoryFile), []byte(`{"op":"`+op+`","pid":7,"failed":"x"}`+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := audit(&store{}, dir, Options{})
		if got := strings.Join(r.Anomalies, "\n"); err != nil || (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, %v; want %q", op, got, err, want)
		}
	}
}
