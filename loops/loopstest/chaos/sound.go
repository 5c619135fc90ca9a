package chaos

import (
	"fmt"

	"example.com/loop-mcp/loops/loopstest/chaos/audit"
)

// Sound returns an error when a run found an anomaly, or when its faults did not
// hit, so that it proves nothing.
func Sound(r audit.Report) error {
	switch {
	case len(r.Anomalies) > 0:
		return fmt.Errorf("%d anomalies", len(r.Anomalies))
	case 2*r.InFlight < r.Kills:
		return fmt.Errorf("only %d of %d kills cut off a start: the run proves little", r.InFlight, r.Kills)
	case r.Iterations < 2*r.Loops:
		return fmt.Errorf("only %d iterations of %d loops: the run proves little", r.Iterations, r.Loops)
	}
	return nil
}
