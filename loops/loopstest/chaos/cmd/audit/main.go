// Command audit audits the folder of a run of the chaos suite. Its exit code is
// 1 when it finds an anomaly.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"example.com/loop-mcp/loops/loopstest/chaos/audit"
)

func main() {
	leases := flag.Bool("leases", false, "the run was on a cluster")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: audit [-leases] FOLDER")
		os.Exit(2)
	}
	report, err := audit.Folder(context.Background(), flag.Arg(0), audit.Options{Leases: *leases})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(report)
	if len(report.Anomalies) > 0 {
		os.Exit(1)
	}
}
