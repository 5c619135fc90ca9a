package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkColdStart starts the server on an empty machine and reports the
// medians of the time to the answer of initialize, the time from the start of
// the process to the answer of the first loop_start, and the resident memory of
// the server that then waits.
func BenchmarkColdStart(b *testing.B) {
	var initialize, first, memory []float64
	for range b.N {
		dir := b.TempDir()
		cmd := exec.Command(program)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "LOOP_MCP_HOME="+filepath.Join(dir, "store"), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "HOME="+dir)
		in, err := cmd.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		lines := bufio.NewReader(out)
		ask := func(id int, method, params string) {
			fmt.Fprintf(in, `{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`+"\n", id, method, params)
			line, err := lines.ReadBytes('\n')
			if err != nil || !json.Valid(line) || strings.Contains(string(line), `"isError":true`) {
				b.Fatalf("%s: %s %v", method, line, err)
			}
		}
		began := time.Now()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		ask(1, "initialize", `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}`)
		initialize = append(initialize, milliseconds(began))
		ask(2, "tools/call", `{"name":"loop_start","arguments":{"goal":"g","until":{"all":[{"kind":"human","question":"ok?"}]}}}`)
		first = append(first, milliseconds(began))
		memory = append(memory, residentMB(b, cmd.Process.Pid))
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(median(initialize), "ms/initialize")
	b.ReportMetric(median(first), "ms/first-loop")
	b.ReportMetric(median(memory), "MB-RSS")
}

func milliseconds(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// residentMB reads what Linux says; elsewhere it is 0.
func residentMB(b *testing.B, pid int) float64 {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
			kb, _ := strconv.ParseFloat(fields[1], 64)
			return kb / 1024
		}
	}
	return 0
}
