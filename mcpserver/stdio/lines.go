package stdio

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
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
}

func newLineReader(in io.Reader, maxLine int) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(in, 64<<10), max: maxLine}
}

// next returns the next line without its end, in memory of its own. Too long a line is reported
// before its end, because its newline may never come. The last line needs no newline.
func (r *lineReader) next() ([]byte, error) {
	if err := r.skip(); err != nil {
		return nil, err
	}
	var line []byte
	for {
		part, err := r.in.ReadSlice('\n')
		if len(line)+len(part) > r.max+len("\r\n") {
			r.skipped = err == bufio.ErrBufferFull
			return head(line, part), errTooLong
		}
		if cap(line)-len(line) < len(part) {
			// Doubling up to the limit makes less garbage of a large line than append's own growth.
			line = slices.Grow(line, max(len(part), min(len(line), r.max+len("\r\n")-len(line))))
		}
		line = append(line, part...)
		switch {
		case err == nil, err == io.EOF && len(line) > 0:
			return r.trim(line)
		case err != bufio.ErrBufferFull:
			return nil, err
		}
	}
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
		return head(line, nil), errTooLong
	}
	return line, nil
}

// head copies the beginning of a line, so that the rest can be freed.
func head(line, part []byte) []byte {
	h := append(make([]byte, 0, idPrefix), line[:min(len(line), idPrefix)]...)
	return append(h, part[:min(len(part), idPrefix-len(h))]...)
}
