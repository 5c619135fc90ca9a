package stdio

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/mcpserver/internal/rpc"
	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/internal/leaktest"
)

// TestHostileLines: each line gets the replies it should, and a ping after it is answered.
func TestHostileLines(t *testing.T) {
	deep := func(n int) string {
		return callLine("1", "echo", `{"a":`+strings.Repeat("[", n)+strings.Repeat("]", n)+"}", "")
	}
	tests := []struct {
		name, line string
		want       []string
	}{
		{"truncated", `{"jsonrpc":"2.0","id":1,"meth`, []string{"null: -32700"}},
		{"random bytes", "\x00\x9f\xffq\x01", []string{"null: -32700"}},
		{"two values", pingLine("1") + pingLine("2"), []string{"null: -32700"}},
		{"deep", deep(100_000), []string{"null: -32700"}},
		{"deep and unclosed", strings.Repeat(`{"a":`, 100_000), []string{"null: -32700"}},
		{"less deep", deep(5000), []string{"1: "}},
		{"batch", "[" + pingLine("1") + "]", []string{"null: -32600"}},
		{"number", "12", []string{"null: -32600"}},
		{"null", "null", []string{"null: -32600"}},
		{"string", `"ping"`, []string{"null: -32600"}},
		{"empty object", "{}", []string{"null: -32600"}},
		{"no method", `{"jsonrpc":"2.0","id":1}`, []string{"1: -32600"}},
		{"empty method", `{"jsonrpc":"2.0","id":1,"method":""}`, []string{"1: -32600"}},
		{"method of wrong type", `{"jsonrpc":"2.0","id":1,"method":5}`, []string{"1: -32600"}},
		{"method null", `{"jsonrpc":"2.0","id":1,"method":null}`, []string{"1: -32600"}},
		{"unknown method", `{"jsonrpc":"2.0","id":1,"method":"nope"}`, []string{"1: -32601"}},
		{"no version", `{"id":"a","method":"ping"}`, []string{`"a": -32600`}},
		{"wrong version", `{"jsonrpc":"1.0","id":1,"method":"ping"}`, []string{"1: -32600"}},
		{"version of wrong type", `{"jsonrpc":2.0,"id":1,"method":"ping"}`, []string{"1: -32600"}},
		{"id null", pingLine("null"), []string{"null: -32600"}},
		{"id object", pingLine(`{"a":1}`), []string{"null: -32600"}},
		{"id array", pingLine("[1]"), []string{"null: -32600"}},
		{"id bool", pingLine("true"), []string{"null: -32600"}},
		{"id beyond numbers", pingLine("1e999"), []string{"null: -32600"}},
		{"id beyond float64's integers", pingLine("9007199254740993"), []string{"9007199254740993: {}"}},
		{"id fraction", pingLine("-1.50"), []string{"-1.50: {}"}},
		{"id empty string", pingLine(`""`), []string{`"": {}`}},
		{"id with escapes", pingLine(`"\u003c\n\ud83d"`), []string{`"\u003c\n\ud83d": {}`}},
		{"id with invalid UTF-8", pingLine("\"a\xff\""), []string{"\"a\uFFFD\": {}"}},
		{"duplicate and odd keys", `{"jsonrpc":"2.0","id":1,"method":"x","ID":2,"METHOD":"ping"}`, []string{"2: {}"}},
		{"request with result", `{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}`, []string{"1: -32600"}},
		{"request with error", `{"jsonrpc":"2.0","id":1,"method":"ping","error":null}`, []string{"1: -32600"}},
		{"params of wrong type", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[1]}`, []string{"1: -32600"}},
		{"response", `{"jsonrpc":"2.0","id":1,"result":{}}`, nil},
		{"error response", `{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}`, nil},
		{"notification", `{"jsonrpc":"2.0","method":"notifications/unknown"}`, nil},
		{"notification mcp-go can't read", `{"jsonrpc":"2.0","method":"notifications/unknown","params":[1]}`, nil},
		{"request without id", `{"jsonrpc":"2.0","method":"tools/list"}`, nil},
		{"cancellation with an id", `{"jsonrpc":"2.0","id":1,"method":"notifications/cancelled"}`, []string{"1: -32601"}},
		{"cancellation without params", `{"jsonrpc":"2.0","method":"notifications/cancelled"}`, nil},
		{"cancellation with odd params", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":[1]}`, nil},
		{"blank", "", nil},
		{"blanks", " \t\r", nil},
		{"carriage return", pingLine("1") + "\r", []string{"1: {}"}},
		{"byte order mark in the middle", "\xef\xbb\xbf" + pingLine("1"), []string{"null: -32700"}},
		{"1 MB", callLine("1", "echo", `{"pad":"`+strings.Repeat("x", 1<<20)+`"}`, ""), []string{"1: "}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startPeer(t, newServer(), nil)
				p.send("")
				got := p.send("", test.line)
				checkSummaries(t, got, test.want...)
				checkSummaries(t, p.send(pingLine(`"alive"`)), `"alive": {}`)
				p.endWell()
			})
		})
	}
}

// TestByteOrderMark: one at the start of the stream is skipped.
func TestByteOrderMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPeer(t, newServer(), nil)
		checkSummaries(t, p.send("\xef\xbb\xbf"+pingLine("1")), "1: {}")
		p.endWell()
	})
}

// TestLongLines: one error for each, at once, with the id if the line begins with it.
func TestLongLines(t *testing.T) {
	const limit = 100_000
	pad := strings.Repeat("x", 2*limit) // enough to fill the reader's buffer again
	exact := callLine("1", "wait", `{"pad":""}`, "")
	exact = strings.Replace(exact, `""`, `"`+strings.Repeat("x", limit-len(exact))+`"`, 1)
	tests := []struct{ name, line, want string }{
		{"junk", pad + pad, "null: -32600"},
		{"id first", `{"jsonrpc":"2.0","id":"a","params":"` + pad, `"a": -32600`},
		{"id after an object", `{"params":{"id":[7,{}]},"ID":-8 ,"x":"` + pad, "-8: -32600"},
		{"id of wrong type", `{"id":{"a":1},"x":"` + pad, "null: -32600"},
		{"id at the end", `{"x":"` + pad + `","id":1}`, "null: -32600"},
		{"id cut off", `{"x":"` + strings.Repeat("x", idPrefix-len(`{"x":"","id":12`)) + `","id":12345,"y":"` + pad, "null: -32600"},
		{"one too many", strings.Replace(exact, "xx", "xxx", 1), "1: -32600"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startPeer(t, newServer(), &Options{MaxLine: limit})
				p.write(test.line)
				if len(test.line) <= limit+len("\r\n") {
					p.write("\n") // only the newline tells whether what comes before it is too long
				}
				checkSummaries(t, p.answers(), test.want)
				p.write(pad + "\n" + pingLine("2") + "\n")
				got := p.answers()
				checkSummaries(t, got[len(got)-1:], "2: {}")
				p.endWell()
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		p := startPeer(t, newServer(), &Options{MaxLine: limit})
		checkSummaries(t, p.send(exact+"\r", cancelLine("1")))
		p.endWell()
	})
}

// TestLongLineEnds: the end of input inside an over-long line is a normal end.
func TestLongLineEnds(t *testing.T) {
	var out bytes.Buffer
	in := strings.NewReader(strings.Repeat("x", 1<<20))
	if err := Serve(t.Context(), newServer(), in, &out, &Options{MaxLine: 1000}); err != nil {
		t.Error(err)
	}
	checkSummaries(t, strings.Split(strings.TrimSpace(out.String()), "\n"), "null: -32600")
}

// TestMain serves its own standard input when asked to, for TestMemory.
func TestMain(m *testing.M) {
	if os.Getenv("STDIO_TEST_SERVE") == "" {
		os.Exit(leaktest.Run(m))
	}
	if err := Serve(context.Background(), newServer(), os.Stdin, os.Stdout, nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmHWM:") {
			fmt.Fprint(os.Stderr, line)
		}
	}
}

// TestMemory: a process that is sent hostile lines stays below 64 MB and goes on serving.
func TestMemory(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("needs /proc")
	}
	junk := bytes.Repeat([]byte("x"), 1<<20)
	tests := []struct {
		name string
		feed func(w io.Writer)
		want []string
	}{
		{"32 MB line", func(w io.Writer) { repeat(w, junk, 32) }, []string{"null: -32600"}},
		{"128 MB without newline", func(w io.Writer) { repeat(w, junk, 128) }, []string{"null: -32600"}},
		{"8 MB lines", func(w io.Writer) {
			for range 4 {
				repeat(w, junk, 8)
				fmt.Fprintln(w)
			}
		}, []string{"null: -32700", "null: -32700", "null: -32700", "null: -32700"}},
		{"100,000 deep", func(w io.Writer) { fmt.Fprint(w, strings.Repeat("[", 100_000)) }, []string{"null: -32700"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			replies, peak := feedChild(t, test.feed)
			checkSummaries(t, replies, append(test.want, "1: {}")...)
			t.Logf("peak %d kB", peak)
			if !raceEnabled && peak > 64<<10 {
				t.Errorf("peak memory is %d kB, want below 64 MB", peak)
			}
		})
	}
}

func repeat(w io.Writer, data []byte, n int) {
	for range n {
		_, _ = w.Write(data)
	}
}

// feedChild runs this test binary as a server, feeds it and a ping, and returns what it answered and
// its peak resident memory in kB.
func feedChild(t *testing.T, feed func(io.Writer)) ([]string, int) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), "STDIO_TEST_SERVE=1")
	var out, status bytes.Buffer
	child.Stdout, child.Stderr = &out, &status
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	feed(in)
	fmt.Fprint(in, "\n"+pingLine("1"))
	in.Close()
	if err := child.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, &status)
	}
	peak, err := strconv.Atoi(strings.Fields(status.String())[1])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(out.String()), "\n"), peak
}

// TestDeepNestingIsFast: hostile nesting costs no more than its length.
func TestDeepNestingIsFast(t *testing.T) {
	start := time.Now()
	for range 10 {
		if _, bad := rpc.Parse([]byte(strings.Repeat("[", 100_000))); bad == nil {
			t.Fatal("accepted")
		}
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("10 lines took %v", took)
	}
}

// TestNumberKey: ids are equal when their values are.
func TestNumberKey(t *testing.T) {
	same := [][]string{
		{"1", "1.0", "1e0", "10e-1"}, {"-0", "0", "0.0"}, {`"1"`, `"\u0031"`},
		{"9007199254740993"}, {"9007199254740992"}, {"1.5", "15e-1"}, {"1e300", "10e299"}, {`""`}, {`"n1"`}, {`"s1"`},
	}
	seen := map[string]int{}
	for i, group := range same {
		for _, raw := range group {
			id, key, ok := rpc.ParseID([]byte(raw))
			if !ok || string(id) != raw {
				t.Errorf("parseID(%s) = %s, %t", raw, id, ok)
			}
			if j, dup := seen[key]; dup && j != i {
				t.Errorf("%s has the key of %v", raw, same[j])
			}
			seen[key] = i
		}
	}
	if diff := cmp.Diff(len(same), len(seen)); diff != "" {
		t.Errorf("number of different ids (-want +got):\n%s\n%v", diff, seen)
	}
}
