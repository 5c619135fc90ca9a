package kvstate_test

import (
	"testing"
	"testing/synctest"

	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

func TestStore(t *testing.T) {
	loopstest.TestStore(t, func(t *testing.T) loops.Store {
		s, _ := fresh(t, nil)
		return s
	})
}

func TestStoreDurable(t *testing.T) {
	loopstest.TestStore(t, func(t *testing.T) loops.Store {
		return open(t, stream(t, host(t, t.TempDir(), embed.Power)), nil)
	})
}

func TestStoreInBubble(t *testing.T) {
	loopstest.TestStoreIn(t, synctest.Test, func(t *testing.T) loops.Store {
		s, _ := fresh(t, nil)
		return s
	})
}
