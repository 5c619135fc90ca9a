package audit

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"
)

// header is the part of a record's header that is checked.
type header struct {
	Version   int    `json:"v"`
	Kind      string `json:"k"`
	Nonce     string `json:"n"`
	PrevNonce string `json:"pn"`
	Prev      uint64 `json:"p"`
	Lengths   [2]int `json:"l"`
	Packed    bool   `json:"c"`
	Sum       string `json:"s"`
	Objects   [2]*struct {
		Name string `json:"n"`
		Sum  string `json:"s"`
	} `json:"ob"`
	Limits []int64 `json:"m"` // of the head, from format 2 on
	Head   head    `json:"h"`
}

// secondFormat is the first that has the limits beside the head, and the status
// there alone.
const secondFormat = 2

type head struct {
	ID        string            `json:"id"`
	Status    string            `json:"status"`
	Labels    map[string]string `json:"labels"`
	Parent    string            `json:"parent"`
	Iteration int               `json:"iteration"`
	Epoch     uint64            `json:"epoch"`
	Cursor    uint64            `json:"cursor"`
	Usage     ledger            `json:"usage"`
	Limits    struct {
		MaxIterations int   `json:"max_iterations"`
		MaxToolCalls  int64 `json:"max_tool_calls"`
		MaxTokens     int64 `json:"max_total_tokens"`
	} `json:"limits"`
}

type ledger struct {
	Starts     int     `json:"starts"`
	Iterations int     `json:"iterations"`
	Passes     int     `json:"passes"`
	Active     float64 `json:"active_seconds"`
	Tokens     int64   `json:"total_tokens"`
	ToolCalls  int64   `json:"tool_calls"`
}

// below reports whether anything in l is less than in was.
func (l ledger) below(was ledger) bool {
	return l.Starts < was.Starts || l.Iterations < was.Iterations || l.Passes < was.Passes ||
		l.Active < was.Active-1e-6 || l.Tokens < was.Tokens || l.ToolCalls < was.ToolCalls
}

// Iteration is an entry of a loop's journal.
type Iteration struct {
	Iteration int    `json:"iteration"`
	Epoch     uint64 `json:"epoch"`
	OK        bool   `json:"ok"`
	Error     string `json:"error"`
	Output    struct {
		Text string `json:"text"`
		Blob string `json:"blob"`
	} `json:"output"`
}

// Event is an entry of a loop's journal.
type Event struct {
	Cursor uint64    `json:"cursor"`
	At     time.Time `json:"at"`
	Type   string    `json:"type"`
	Text   string    `json:"text"`
}

// journal is the second part of a snapshot; that of a delta is an entry.
type journal struct {
	Iterations []Iteration `json:"iterations"`
	Events     []Event     `json:"events"`
	Dropped    uint64      `json:"dropped"`
}

type entry struct {
	Iteration *Iteration `json:"iteration"`
	Events    []Event    `json:"events"`
}

// checkpoint is the first part of a record.
type checkpoint struct {
	Origin *struct {
		Spec struct {
			Body struct {
				Kind string `json:"kind"`
			} `json:"body"`
		} `json:"spec"`
	} `json:"origin"`
	State struct {
		ID        string          `json:"id"`
		Status    string          `json:"status"`
		Iteration int             `json:"iteration"`
		Usage     ledger          `json:"usage"`
		Open      bool            `json:"open"`
		Claim     json.RawMessage `json:"claim"`
		Stop      *struct {
			Reason string `json:"reason"`
		} `json:"stop"`
		Children map[string]struct {
			Spent ledger `json:"spent"`
			Aside ledger `json:"aside"`
		} `json:"children"`
	} `json:"state"`
}

// record is a message of the stream, decoded.
type record struct {
	header
	seq   uint64
	parts [2][]byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is CRC-32C and CRC-32, big endian, in hexadecimal digits.
func checksum(data []byte) string {
	b := binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, castagnoli))
	return hex.EncodeToString(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(data)))
}

// decode reads a message: its header Loop-Head and its body. object returns the
// content of an object.
func decode(seq uint64, loop, text string, body []byte, object func(name string) ([]byte, error)) (record, error) {
	r := record{seq: seq}
	const prefix = `,"crc":"`
	cut := strings.LastIndex(text, prefix)
	if cut < 0 || text[cut:] != prefix+checksum([]byte(text[:cut]))+`"}` {
		return r, errors.New("the checksum of its header is wrong")
	}
	if err := json.Unmarshal([]byte(text), &r.header); err != nil {
		return r, err
	}
	if r.Version >= secondFormat {
		if len(r.Limits) < 9 {
			return r, fmt.Errorf("it has %d limits", len(r.Limits))
		}
		r.Head.Limits.MaxIterations, r.Head.Limits.MaxTokens, r.Head.Limits.MaxToolCalls = int(r.Limits[0]), r.Limits[5], r.Limits[7]
	}
	if r.Sum != checksum(body) {
		return r, errors.New("the checksum of its body is wrong")
	}
	if r.Head.ID != loop {
		return r, fmt.Errorf("it is of loop %s", r.Head.ID)
	}
	if r.Packed {
		var err error
		if body, err = s2.Decode(nil, body); err != nil {
			return r, err
		}
	}
	if len(body) != r.Lengths[0]+r.Lengths[1] {
		return r, fmt.Errorf("its body has %d bytes, its header says %d and %d", len(body), r.Lengths[0], r.Lengths[1])
	}
	r.parts = [2][]byte{body[:r.Lengths[0]], body[r.Lengths[0]:]}
	for i, o := range r.Objects {
		if o == nil {
			continue
		}
		data, err := object(loop + "/" + o.Name)
		if err == nil && checksum(data) != o.Sum {
			err = errors.New("its checksum is wrong")
		}
		if err != nil {
			return r, fmt.Errorf("its object %s: %w", o.Name, err)
		}
		r.parts[i] = data
	}
	return r, nil
}
