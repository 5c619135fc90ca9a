package stdio

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"example.com/loop-mcp/mcpserver/internal/rpc"
)

// idPrefix is how much of an over-long line is kept to find its id in.
const idPrefix = 4 << 10

// errTooLong says that a line exceeds the limit. The line's beginning comes with it.
var errTooLong = errors.New("the line is too long")

var byteOrderMark = []byte("\xef\xbb\xbf")

// lineReader cuts a stream into lines of bounded length.
type lineReader struct {
	in      *bufio.Reader
	max     int
	begun   bool // the first line was returned
	skipped bool // what follows, up to the newline, belongs to a line already reported too long

	// A long line is collected in pieces, which serve the next long line again: one
	// too many must not cost more memory than the limit.
	pieces [][]byte
	used   int // pieces that the current line fills
	size   int // bytes in them
}

const bufferSize = 64 << 10

func newLineReader(in io.Reader, maxLine int) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(in, bufferSize), max: maxLine}
}

// next returns the next line without its end, in memory of its own. Too long a line is reported
// before its end, because its newline may never come. The last line needs no newline.
func (r *lineReader) next() ([]byte, error) {
	if err := r.skip(); err != nil {
		return nil, err
	}
	r.used, r.size = 0, 0
	for {
		part, err := r.in.ReadSlice('\n')
		if r.size+len(part) > r.max+len("\r\n") {
			r.skipped = err == bufio.ErrBufferFull
			return r.head(part), errTooLong
		}
		switch {
		case err == nil, err == io.EOF && r.size+len(part) > 0:
			return r.trim(r.joined(part))
		case err != bufio.ErrBufferFull:
			return nil, err
		}
		r.keep(part)
	}
}

// keep sets part aside.
func (r *lineReader) keep(part []byte) {
	if r.used == len(r.pieces) {
		r.pieces = append(r.pieces, make([]byte, 0, bufferSize))
	}
	r.pieces[r.used] = append(r.pieces[r.used][:0], part...)
	r.used++
	r.size += len(part)
}

// joined returns the current line, which ends with part, in memory of its own.
func (r *lineReader) joined(part []byte) []byte {
	line := make([]byte, 0, r.size+len(part))
	for _, piece := range r.pieces[:r.used] {
		line = append(line, piece...)
	}
	if r.used == 0 {
		r.pieces = nil
	}
	return append(line, part...)
}

// head returns the beginning of the current line, of which part is the latest.
func (r *lineReader) head(part []byte) []byte {
	if r.used > 0 {
		part = r.pieces[0]
	}
	return bytes.Clone(part[:min(len(part), idPrefix)])
}

// skip reads past the rest of an over-long line.
func (r *lineReader) skip() error {
	for r.skipped {
		_, err := r.in.ReadSlice('\n')
		switch err {
		case nil:
			r.skipped = false
		case bufio.ErrBufferFull:
		default:
			return err
		}
	}
	return nil
}

// trim removes the line's end and a byte order mark at the start of the stream.
func (r *lineReader) trim(line []byte) ([]byte, error) {
	line = bytes.TrimSuffix(line, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if !r.begun {
		r.begun = true
		line = bytes.TrimPrefix(line, byteOrderMark)
	}
	if len(line) > r.max {
		return bytes.Clone(line[:min(len(line), idPrefix)]), errTooLong
	}
	return line, nil
}

// recoverID finds the id in the beginning of an over-long line, or returns nil.
func recoverID(head []byte) []byte {
	head = bytes.TrimPrefix(head, byteOrderMark)
	dec := json.NewDecoder(bytes.NewReader(head))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil
	}
	for {
		name, err := dec.Token()
		if err != nil {
			return nil
		}
		var value json.RawMessage
		// A value that ends where the beginning ends may be cut off.
		if dec.Decode(&value) != nil || dec.InputOffset() >= int64(len(head)) {
			return nil
		}
		if s, ok := name.(string); ok && strings.EqualFold(s, "id") {
			id, _, _ := rpc.ParseID(value)
			return id
		}
	}
}
