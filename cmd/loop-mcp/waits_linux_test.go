package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// BenchmarkTwoHundredWaits reports how much the resident memory of a server that has answered a
// thousand calls grows at most until two hundred calls that waited for two seconds, half of them in
// each era, are answered.
func BenchmarkTwoHundredWaits(b *testing.B) {
	for _, transport := range []string{"stdio", "http"} {
		b.Run(transport, func(b *testing.B) {
			var grown []float64
			for range b.N {
				grown = append(grown, waitsCost(b, transport == "http"))
			}
			b.ReportMetric(median(grown), "MB")
			b.ReportMetric(0, "ns/op") // it waits
		})
	}
}

// waitsCost is the growth in MB.
func waitsCost(b *testing.B, overHTTP bool) float64 {
	b.Helper()
	dir := b.TempDir()
	cmd := exec.Command(program, "serve")
	if overHTTP {
		cmd.Args = append(cmd.Args, "--http", "127.0.0.1:0")
	}
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
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewReader(out)
	ask := askStdio(b, in, lines)
	if overHTTP {
		ask = askHTTP(b, lines)
	}
	started := ask([]string{callTool(1, "loop_start", `{"goal":"g","until":{"all":[{"kind":"human","question":"ok?"}]}}`, "")})
	id := regexp.MustCompile(`loop-[a-z2-7]{4,26}`).FindString(started[0])
	waits := func(from, seconds int) []string {
		calls := make([]string, 200)
		for i := range calls {
			calls[i] = callTool(from+i, "loop_wait", fmt.Sprintf(`{"loop_id":%q,"for":"settled","wait_seconds":%d}`, id, seconds), fmt.Sprint("t", i))
			if i%2 == 0 {
				calls[i] = strings.Replace(calls[i], `"_meta":{`, `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},`, 1)
			}
		}
		return calls
	}
	for round := range 5 { // the garbage of calls is there before, too
		ask(waits(1000*(round+1), 0))
	}
	before := residentMB(b, cmd.Process.Pid)
	for _, answer := range ask(waits(10_000, 2)) {
		if !strings.Contains(answer, `"timed_out":true`) {
			b.Fatalf("a wait was answered with %.300s", answer)
		}
	}
	most := mostMB(b, cmd.Process.Pid)
	_ = cmd.Process.Signal(os.Interrupt) // a server over HTTP does not look at its input
	in.Close()
	_ = cmd.Wait() // interrupted
	return most - before
}

// askStdio sends requests and returns their answers.
func askStdio(b *testing.B, in io.Writer, lines *bufio.Reader) func([]string) []string {
	return func(requests []string) (answers []string) {
		b.Helper()
		if _, err := io.WriteString(in, strings.Join(requests, "")); err != nil {
			b.Fatal(err)
		}
		for len(answers) < len(requests) {
			line, err := lines.ReadString('\n')
			if err != nil {
				b.Fatal(err)
			}
			if strings.Contains(line, `"result"`) {
				answers = append(answers, line)
			}
		}
		return answers
	}
}

// askHTTP is askStdio for a server that says on lines where it listens. The requests of the older
// era have one session.
func askHTTP(b *testing.B, lines *bufio.Reader) func([]string) []string {
	b.Helper()
	said, err := lines.ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	url := regexp.MustCompile(`http://[^ ,]*`).FindString(said)
	client := &http.Client{Transport: &http.Transport{}}
	b.Cleanup(client.CloseIdleConnections)
	post := func(text, session string) (answer, newSession string) {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(text))
		if err != nil {
			b.Error(err)
			return "", ""
		}
		r.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
		if strings.Contains(text, "2026-07-28") {
			tool := regexp.MustCompile(`"name":"([a-z_]+)"`).FindStringSubmatch(text)[1]
			r.Header["Mcp-Method"], r.Header["Mcp-Name"], r.Header["Mcp-Protocol-Version"] = []string{"tools/call"}, []string{tool}, []string{"2026-07-28"}
		} else if session != "" {
			r.Header["Mcp-Session-Id"], r.Header["Mcp-Protocol-Version"] = []string{session}, []string{"2025-11-25"}
		}
		answered, err := client.Do(r)
		if err != nil {
			b.Error(err)
			return "", ""
		}
		defer answered.Body.Close()
		body, err := io.ReadAll(answered.Body)
		if err != nil {
			b.Error(err)
		}
		return string(body), answered.Header.Get("Mcp-Session-Id")
	}
	hello, _, _ := strings.Cut(helloServer, "\n")
	_, session := post(hello, "")
	return func(requests []string) []string {
		answers := make([]string, len(requests))
		var all sync.WaitGroup
		for i, text := range requests {
			all.Go(func() { answers[i], _ = post(text, session) })
		}
		all.Wait()
		return answers
	}
}

// mostMB is the most resident memory that a process had.
func mostMB(b *testing.B, pid int) float64 {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	var kb float64
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			_, _ = fmt.Sscan(text, &kb)
		}
	}
	return kb / 1024
}
