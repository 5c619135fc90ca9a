//go:build !unix

package kvstate_test

import (
	"testing"
	"time"
)

// processorTime is not known here.
func processorTime(*testing.B) time.Duration { return 0 }

// resident is not known here.
func resident(*testing.B) int64 { return 0 }
