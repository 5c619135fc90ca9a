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
	url := flag.String("nats", "", "the run's NATS servers node-0, node-1 and node-2, when they run")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: audit [-leases] [-nats URL] FOLDER")
		os.Exit(2)
	}
	opts := audit.Options{Leases: *leases}
	report, err := audit.Report{}, error(nil)
	if *url != "" {
		report, err = audit.Servers(context.Background(), flag.Arg(0), *url, []string{"node-0", "node-1", "node-2"}, opts)
	} else {
		report, err = audit.Folder(context.Background(), flag.Arg(0), opts)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(report)
	if len(report.Anomalies) > 0 {
		os.Exit(1)
	}
}
