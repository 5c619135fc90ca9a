package mark

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"time"
)

// Mark is what is known of a key.
type Mark struct {
	Rev     uint64 // the newest revision that was acknowledged
	Expires int64  // Unix time from which on the key may be gone; 0: it may not
}

// Gone reports whether the key may be gone at the moment now.
func (m Mark) Gone(now time.Time) bool { return m.Expires != 0 && now.Unix() >= m.Expires }

// afterlife is how long the mark of a gone key is kept: records of it that a
// crash brings back are told from records that count.
const afterlife = 90 * 24 * time.Hour

// forgotten reports whether nobody asks for the mark any more.
func (m Mark) forgotten(now time.Time) bool { return m.Gone(now.Add(-afterlife)) }

// headline is the first line of every file.
const headline = "loop-mcp marks 1\n"

// headPrefix begins the first line of a file of any version.
const headPrefix = "loop-mcp marks "

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendLine appends the line of a key, which has neither spaces nor ends of
// line.
func appendLine(b []byte, key string, m Mark) []byte {
	began := len(b)
	b = strconv.AppendUint(b, m.Rev, 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, m.Expires, 10)
	b = append(b, ' ')
	b = append(b, key...)
	return fmt.Appendf(b, " %08x\n", crc32.Checksum(b[began:], castagnoli))
}

// parseLine reads a line without its end. A store of 100,000 loops has as many,
// so it makes nothing but the key.
func parseLine(line []byte) (key string, m Mark, ok bool) {
	cut := len(line) - len(" 00000000")
	if cut < 0 || line[cut] != ' ' {
		return "", Mark{}, false
	}
	sum, ok := hexadecimal(line[cut+1:])
	if !ok || sum != crc32.Checksum(line[:cut], castagnoli) {
		return "", Mark{}, false
	}
	rev, rest, _ := bytes.Cut(line[:cut], []byte(" "))
	expires, name, _ := bytes.Cut(rest, []byte(" "))
	if len(name) == 0 || bytes.IndexByte(name, ' ') >= 0 {
		return "", Mark{}, false
	}
	var err, err2 error
	m.Rev, err = strconv.ParseUint(string(rev), 10, 64)
	m.Expires, err2 = strconv.ParseInt(string(expires), 10, 64)
	if err != nil || err2 != nil {
		return "", Mark{}, false
	}
	return string(name), m, true
}

// hexadecimal reads eight small digits, as appendLine writes them.
func hexadecimal(digits []byte) (sum uint32, ok bool) {
	for _, c := range digits {
		switch {
		case c >= '0' && c <= '9':
			sum = sum<<4 | uint32(c-'0')
		case c >= 'a' && c <= 'f':
			sum = sum<<4 | uint32(c-'a'+10)
		default:
			return 0, false
		}
	}
	return sum, true
}

// marks are what files say together.
type marks map[string]Mark

// take keeps m unless a newer mark of the key is known.
func (all marks) take(key string, m Mark) {
	if m.Rev >= all[key].Rev {
		all[key] = m
	}
}

// read takes in what a file says from some whole line on. It returns how many
// bytes it has read, up to the last whole line, and how many lines of those do
// not verify.
func (all marks) read(data []byte) (n, damaged int) {
	for {
		end := bytes.IndexByte(data[n:], '\n')
		if end < 0 {
			return n, damaged
		}
		if key, m, ok := parseLine(data[n : n+end]); ok {
			all.take(key, m)
		} else {
			damaged++
		}
		n += end + 1
	}
}

// encode returns a file that says what all say.
func (all marks) encode() []byte {
	b := []byte(headline)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		b = appendLine(b, key, all[key])
	}
	return b
}
