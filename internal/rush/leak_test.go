package rush

import (
	"os"
	"testing"

	"example.com/loop-mcp/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }
