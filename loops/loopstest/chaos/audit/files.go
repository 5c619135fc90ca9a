package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// The names of the files in the folder of a run.
const (
	EffectsFile = "effects.jsonl"
	HistoryFile = "history.jsonl"
	DataFolder  = "data"
)

// Effect is a line of the effect log: something that a body or a condition did.
type Effect struct {
	At        int64  `json:"at"` // Unix nanoseconds
	What      string `json:"what"`
	Loop      string `json:"loop"`
	Iteration int    `json:"iteration"`
	Start     int    `json:"start,omitempty"` // the loop's start number, from 1; 0: a condition
	PID       int    `json:"pid"`
	Parent    int    `json:"parent"` // the process that started it
	Nonce     string `json:"nonce,omitempty"`
	Exit      int    `json:"exit,omitempty"`
	Tokens    int64  `json:"tokens,omitempty"`
}

// What an Effect says.
const (
	Paid   = "paid"   // a metered call was made, which counts against the loop and those above it
	Billed = "billed" // a provider was asked, which costs Tokens; once in a start
	Begin  = "begin"  // a body runs
	End    = "end"    // it has done its work and is about to exit
	Check  = "check"  // a condition looked
)

// Told is a line of the history: what a client asked and was told, or what the
// driver did to a process.
type Told struct {
	Asked  int64  `json:"asked"` // Unix nanoseconds
	At     int64  `json:"at"`    // of the answer
	Op     string `json:"op"`
	Loop   string `json:"loop,omitempty"`
	Label  string `json:"label,omitempty"` // of a start: the loop's label "chaos"
	Nonce  string `json:"nonce,omitempty"` // of a submit or steer: a text that occurs nowhere else
	PID    int    `json:"pid,omitempty"`
	Failed string `json:"failed,omitempty"` // there was no answer, or a refusal: the outcome is not known

	Snapshot
}

// Snapshot is what an answer said of a loop.
type Snapshot struct {
	Status    string `json:"status,omitempty"`
	Iteration int    `json:"iteration,omitempty"`
	Starts    int    `json:"starts,omitempty"`
	Epoch     uint64 `json:"epoch,omitempty"`
	Cursor    uint64 `json:"cursor,omitempty"`
	Settled   bool   `json:"settled,omitempty"` // of a cancel: the loop had settled before
}

// What a Told is about.
const (
	OpStart       = "start"
	OpLook        = "look"
	OpSubmit      = "submit"
	OpSteer       = "steer"
	OpCancel      = "cancel"
	OpOther       = "other"
	OpUp          = "up"          // a process was started
	OpKill        = "kill"        // a process was killed, while Starts bodies ran below it
	OpEnd         = "end"         // a process was ended in order
	OpStop        = "stop"        // a process was stopped for a while, in a cluster from Asked to At
	OpCut         = "cut"         // a worker was cut off from the cluster for a while
	OpNode        = "node"        // a node of the cluster was killed
	OpDamage      = "damage"      // a record of the loop was replaced by one that is damaged
	OpQuarantined = "quarantined" // the loop was shown as damaged
	OpMissing     = "missing"     // an acknowledged loop is not found, or not in a list
	OpSilent      = "silent"      // a living process did not answer, or did not end, for far longer than it may take
	OpLeft        = "left"        // a process of the run is there after its end
)

// readLines decodes a file of JSON lines. A last line without an end is what a
// killed process had begun to write.
func readLines[T any](path string) ([]T, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []T
	in := bufio.NewReader(bytes.NewReader(data))
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return all, nil
		}
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, n, err)
		}
		all = append(all, v)
	}
}
