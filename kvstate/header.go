package kvstate

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"

	"example.com/loop-mcp/internal/bugs"
	"example.com/loop-mcp/loops"
)

// headHeader is the message header that holds a record's header.
const headHeader = "Loop-Head"

// maxHeader bounds a record's header, in bytes.
const maxHeader = 4 << 10

// Format is the format of the records that this package writes. It reads all up
// to it; a loop of a later one is quarantined until a newer program comes.
//
// Format 1 has all of the state in the checkpoint, and the limits in the head.
// Format 2 says once what head and state have in common.
const Format = 2

type kind string

const (
	snapshot kind = "snapshot" // Origin, checkpoint and the whole journal
	delta    kind = "delta"    // checkpoint and what the commit adds to the journal
)

// header is what is known of a record without its body.
type header struct {
	Version   int        `json:"v"`
	Kind      kind       `json:"k"`
	Nonce     string     `json:"n"`            // of this commit
	PrevNonce string     `json:"pn,omitempty"` // of the commit before
	Prev      uint64     `json:"p,omitempty"`  // the revision before; 0: the loop was created
	Base      uint64     `json:"b,omitempty"`  // delta: the snapshot it builds on
	Floor     uint64     `json:"f,omitempty"`  // Prev of that snapshot, or of this one
	BaseSize  int64      `json:"y"`            // bytes of that snapshot, or of this one
	Since     int64      `json:"z,omitempty"`  // bytes of the deltas since the snapshot
	Count     int        `json:"q,omitempty"`  // deltas since the snapshot
	Origin    string     `json:"o"`            // checksum of the Origin
	Expires   int64      `json:"x,omitempty"`  // Unix time at which a settled loop goes; 0: never
	Lengths   [2]int     `json:"l"`            // bytes of the parts that are in the body, unpacked
	Packed    bool       `json:"c,omitempty"`  // the body is compressed
	Sum       string     `json:"s"`            // checksum of the body as it is sent
	Objects   [2]*object `json:"ob,omitzero"`  // the parts that are not in the body
	Head      loops.Head `json:"h"`
}

// headerText is a header as it is stored.
type headerText struct {
	header
	Limits limitList `json:"m,omitzero"` // of Head, which has none from format 2 on
}

// object names a part of a record in the object store.
type object struct {
	Name string `json:"n"` // below the loop's id
	Sum  string `json:"s"` // checksum of the part
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is two CRCs of 32 bits with different polynomials, for which
// processors have instructions; together they find what one of 64 bits does.
func checksum(data []byte) string {
	sum := sumOf(data)
	var digits [16]byte
	hex.Encode(digits[:], sum[:])
	return string(digits[:])
}

func sumOf(data []byte) (b [8]byte) {
	binary.BigEndian.PutUint32(b[:4], crc32.Checksum(data, castagnoli))
	binary.BigEndian.PutUint32(b[4:], crc32.ChecksumIEEE(data))
	return b
}

// crcSuffix ends every header: the checksum of what is in front of it.
const (
	crcPrefix = `,"crc":"`
	crcSuffix = crcPrefix + `0123456789abcdef"}`
)

// encode returns the header as it is sent. A head that is too large loses its
// summary; labels that are too large are refused.
func (h header) encode() (string, error) {
	w := lend()
	defer w.giveBack()
	for {
		w.b = w.b[:0]
		if w.header(&h); w.err != nil {
			return "", fmt.Errorf("encode the head of %s: %w", h.Head.ID, w.err)
		}
		over := len(w.b) + len(crcSuffix) - 1 - maxHeader
		if over <= 0 {
			w.b = w.b[:len(w.b)-1]
			sum := sumOf(w.b)
			w.b = append(w.b, crcPrefix...)
			w.b = hex.AppendEncode(w.b, sum[:])
			w.b = append(w.b, `"}`...)
			return string(w.b), nil
		}
		if h.Head.Summary == "" {
			return "", &loops.FieldError{Field: "labels", Problem: fmt.Sprintf(
				"are too large: name, labels and limits must fit into %d bytes and take %d bytes more; use fewer or shorter labels", maxHeader, over)}
		}
		h.Head.Summary = ""
	}
}

var errHeaderSum = errors.New("the checksum of the record's header is wrong")

// sealed reports whether what begins at cut is the checksum of what is before it.
func sealed(text []byte, cut int) bool {
	sum := sumOf(text[:cut])
	var want [len(crcSuffix)]byte
	hex.Encode(want[copy(want[:], crcPrefix):], sum[:])
	copy(want[len(want)-2:], `"}`)
	return string(text[cut:]) == string(want[:])
}

// decodeHeader reads and verifies a header of loop id at revision rev.
func decodeHeader(text string, id loops.ID, rev uint64) (header, error) {
	if text == "" {
		return header{}, errors.New("the record has no header " + headHeader)
	}
	cut := len(text) - len(crcSuffix)
	if cut < 0 {
		return header{}, errHeaderSum
	}
	r := lendScanner(text)
	defer r.giveBack()
	if !bugs.NoChecksum && !sealed(r.bytes, cut) {
		return header{}, errHeaderSum
	}
	h, err := r.unmarshal()
	if err != nil {
		return h, fmt.Errorf("the record's header cannot be read: %w", err)
	}
	if err := h.fits(id, rev); err != nil {
		return h, err
	}
	h.Head.Rev = rev
	if h.Kind == snapshot {
		h.Base = rev
	}
	return h, nil
}

// fits reports why a record of loop id at revision rev cannot have this header.
func (h *header) fits(id loops.ID, rev uint64) error {
	switch {
	case h.Version < 1 || h.Version > Format:
		return fmt.Errorf("%w: the record has the format %d, this program reads 1 to %d: use a newer program", loops.ErrNewer, h.Version, Format)
	case h.Head.ID != id:
		return fmt.Errorf("the record belongs to loop %s", h.Head.ID)
	case h.Prev >= rev || h.Base >= rev || h.Kind == delta && (h.Base == 0 || h.Prev < h.Base):
		return fmt.Errorf("the record follows revision %d and builds on %d: both must be older than itself", h.Prev, h.Base)
	case h.Kind != delta && h.Kind != snapshot:
		return fmt.Errorf("the record is of the unknown kind %q", h.Kind)
	}
	return nil
}
