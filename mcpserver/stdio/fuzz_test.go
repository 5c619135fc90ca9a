package stdio

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

const fuzzMaxLine = 64 << 10

// FuzzServe: whatever bytes arrive, Serve returns nil, writes whole JSON lines, answers the ping that
// follows, and answers every valid request once.
func FuzzServe(f *testing.F) {
	deep := strings.Repeat("[", 20_000)
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"meth`,                                                  // truncated JSON
		"\x00\x01\xfe\xff\x80 {\"",                                                       // random bytes
		`{"jsonrpc":2,"id":1,"method":[],"params":"x"}`,                                  // wrong types
		pingLine("1e999") + "\n" + pingLine("[{}]") + "\n" + pingLine(`"\ud800"`),        // odd ids
		"[" + pingLine("1") + "," + pingLine("2") + "]",                                  // batch
		callLine("1", "echo", `{"a":`+deep, ""),                                          // deep nesting
		`{"JSONRPC":"2.0","Id":1,"id":2,"METHOD":"ping","method":"ping"}`,                // odd key case, duplicates
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[7]}`,                    // bad params
		callLine("1", "echo", `{"text":"`+strings.Repeat("x", fuzzMaxLine/2)+`"}`, ""),   // long line
		callLine("1", "whoami", "{}", "") + "\n" + initialize,                            // call before initialize
		callLine("1", "echo", `{"text":"`+strings.Repeat("x", 2*fuzzMaxLine), "") + "\n", // over-long line
		strings.Repeat("x", 3*fuzzMaxLine),                                               // no newline
		"\xef\xbb\xbf" + pingLine("1") + "\r\n\r\n \n",
		callLine("1", "wait", "{}", "") + "\n" + pingLine("1") + "\n" + cancelLine("1") + "\n" + pingLine("1"),
		callLine("1", "progress", `{"count":300}`, modernMeta) + "\n" + callLine(`"1"`, "panic", "{}", ""),
		`{"jsonrpc":"2.0","id":9,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},` + modernMeta + "}}}",
		initializeWith(elicits) + "\n" + callLine("1", "ask", "{}", "") + "\n" + answerLine(`"ask-1"`, `{"action":"accept"}`) + "\n" + answerLine(`"ask-1"`, `[]`),
		initializeWith(elicits) + "\n" + callLine("1", "ask", "{}", "") + "\n" + `{"id":"ask-1","error":{"code":"x"},"result":7}` + "\n" + callLine("2", "ask", "{}", "") + "\n" + cancelLine("2"),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var out bytes.Buffer
		in := append(bytes.Clone(data), "\n"+pingLine(`"the last"`)...)
		opts := &Options{MaxLine: fuzzMaxLine, Grace: time.Millisecond}
		if err := Serve(t.Context(), newAsking(), bytes.NewReader(in), &out, opts); err != nil {
			t.Fatal(err)
		}
		want, exact := expectedAnswers(data)
		want[`"the last"`]++
		got := map[string]int{}
		for line := range strings.Lines(out.String()) {
			r := parseReply(t, line)
			if r.Method == "elicitation/create" && strings.HasPrefix(string(r.ID), `"ask-`) {
				continue
			}
			if !strings.HasSuffix(line, "\n") || (r.Method == "") == (r.ID == nil) {
				t.Fatalf("neither an answer nor a notification: %q", line)
			}
			got[string(r.ID)]++
		}
		for id, n := range want {
			if exact && got[id] != n || got[id] > n {
				t.Errorf("id %s: %d answers to %d requests", id, got[id], n)
			}
		}
		if got[`"the last"`] != 1 {
			t.Error("the last ping was not answered")
		}
	})
}

// expectedAnswers counts the requests anyone would call valid, by id; exact says that each of them has
// to be answered, because no line looks like a cancellation and none could share an id unseen.
func expectedAnswers(data []byte) (want map[string]int, exact bool) {
	want, exact = map[string]int{}, true
	data = bytes.TrimPrefix(data, byteOrderMark)
	for line := range bytes.Lines(data) {
		line = bytes.TrimRight(line, "\r\n")
		var request map[string]json.RawMessage
		if len(line) > fuzzMaxLine || json.Unmarshal(line, &request) != nil {
			// It may be refused under an id that is in use elsewhere.
			exact = exact && !bytes.Contains(bytes.ToLower(line), []byte("id"))
			continue
		}
		id, method := string(request["id"]), string(request["method"])
		plain := len(id) > 0 && strings.Trim(id, "0123456789") == "" && len(id) < 10 &&
			string(request["jsonrpc"]) == `"2.0"` && len(method) > 2 && method[0] == '"'
		for key := range request {
			plain = plain && (key == "jsonrpc" || key == "id" || key == "method" || key == "params")
		}
		if !plain || strings.Count(string(line), `"id"`) != 1 || strings.Contains(method, "\\") || strings.Contains(method, "cancelled") {
			exact = false
			continue
		}
		want[id]++
	}
	if !exact {
		return map[string]int{}, false
	}
	return want, true
}
