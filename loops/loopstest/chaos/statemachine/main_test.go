package statemachine_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"example.com/loop-mcp/internal/leaktest"
)

// TestMain has 300 cases played, about 9,000 steps, unless -rapid.checks says
// otherwise.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "300"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(leaktest.Run(m))
}
