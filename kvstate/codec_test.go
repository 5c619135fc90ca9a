package kvstate

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// sampleHeader returns a header with every field set.
func sampleHeader() header {
	s := loopstest.Sample("sample-aaaa")
	s.Claim, s.WakeAt = loops.Claim{Owner: "o", Token: "t"}, time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	return header{
		Version: Format, Kind: delta, Nonce: "n", PrevNonce: "p", Prev: 8, Base: 5, Floor: 3, BaseSize: 100, Since: 50, Count: 2,
		Origin: "o", Expires: 77, Lengths: [2]int{1, 2}, Packed: true, Sum: "s", Objects: [2]*object{{"a", "b"}, nil}, Head: s.Head(),
	}
}

func TestHeader(t *testing.T) {
	want := sampleHeader()
	text, err := want.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeHeader(text, "sample-aaaa", 9)
	if err != nil {
		t.Fatal(err)
	}
	want.Head.Rev = 9
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !json.Valid([]byte(text)) || strings.ContainsAny(text, "\r\n") {
		t.Errorf("the header is not one line of JSON: %s", text)
	}
	for i := range text {
		b := []byte(text)
		b[i] ^= 1
		if _, err := decodeHeader(string(b), "sample-aaaa", 9); err == nil {
			t.Fatalf("a flipped bit in byte %d was not noticed", i)
		}
	}
	for name, wrong := range map[string]func(h *header){
		"a newer format":          func(h *header) { h.Version++ },
		"an unknown kind":         func(h *header) { h.Kind = "other" },
		"a record after itself":   func(h *header) { h.Prev = 9 },
		"a base after itself":     func(h *header) { h.Base = 9 },
		"a base after the record": func(h *header) { h.Prev = 4 },
		"a delta without a base":  func(h *header) { h.Base = 0 },
	} {
		h := sampleHeader()
		wrong(&h)
		text, err := h.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeHeader(text, "sample-aaaa", 9); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

// TestSampleHeaderHasEveryField fails when a field is added that encode forgets.
func TestSampleHeaderHasEveryField(t *testing.T) {
	h := reflect.ValueOf(sampleHeader())
	for i := range h.NumField() {
		if h.Field(i).IsZero() {
			t.Errorf("the field %s is not set", h.Type().Field(i).Name)
		}
	}
}

// TestHeadersAreReadByHand fails when a usual header is left to package json.
func TestHeadersAreReadByHand(t *testing.T) {
	h := sampleHeader()
	h.Objects, h.Head.Cancel = [2]*object{}, nil
	w := &writer{}
	w.header(&h)
	text := w.b
	var want headerText
	r := &scanner{text: string(text)}
	if !r.header() {
		t.Fatalf("given up at %.60s", text[r.at:])
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, r.read, cmp.AllowUnexported(headerText{})); diff != "" {
		t.Errorf("not what package json reads:\n%s", diff)
	}
}

// FuzzHeader reads a header by hand and as package json does.
func FuzzHeader(f *testing.F) {
	for _, text := range []string{"", "{}", `{"v":1}`, `{"v":01}`, `{"v":1.0}`, `{"p":-1}`, `{"h":{"usage":{"active_seconds":.5}}}`, `{"h":{"usage":{"active_seconds":5.}}}`,
		`{"h":{"labels":{}}}`, `{"h":{"labels":{"a":"b"}}}`, `{"h":{"limits":{"max_active":"-1s"}}}`, `{"h":{"limits":{"max_passes":-1}}}`, `{"h":{"name":"a\u0041"}}`,
		`{"l":[1,2]}`, `{"l":[1]}`, `{"l":[1,2,3]}`, `{"c":false}`, `{"c":true}`, `{"V":1}`, `{"v":1}x`, `{"v":1,"crc":"0123"}`, `{"crc":1}`, `{"crc":"\u0041"}`, `{"h":null}`, `{"h":{"cancel":null}}`, `{"v":1,"v":2}`, "{\"n\":\"\xff\"}",
		`{"h":{"limits":{"max_cost_usd":2.5,"max_duration":"24h0m0s"},"wake_at":"2026-11-21T10:00:00Z"}}`, `{"h":{"usage":{"cost_usd":-1}}}`, `{"h":{"usage":{"cost_usd":0.}}}`, `{"h":{"usage":{"cost_usd":.5}}}`, `{"m":[1,2]}`, `{"m":[1,2,3,4,5,6,7,8,9]}`, `{"m":[1,2,3,4,5,6,7,8,9,10]}`} {
		f.Add(text)
	}
	for _, cut := range []bool{false, true} {
		h := sampleHeader()
		if cut {
			h.Objects, h.Head.Cancel = [2]*object{}, nil
		}
		w := &writer{}
		w.header(&h)
		f.Add(string(w.b))
	}
	f.Fuzz(func(t *testing.T, text string) {
		var want headerText
		r := &scanner{text: text}
		if !r.header() {
			return
		}
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatalf("package json does not read it: %v", err)
		}
		if diff := cmp.Diff(want, r.read, cmp.AllowUnexported(headerText{})); diff != "" {
			t.Errorf("not what package json reads:\n%s", diff)
		}
	})
}

func FuzzReadRecord(f *testing.F) {
	text, err := sampleHeader().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text, []byte("{}{}"), true)
	f.Add(text, []byte{0x05, 0xff}, true)
	f.Add("", []byte(nil), false)
	f.Add(`{"k":"snapshot","l":[-1,3]}`, []byte("{}"), true)
	f.Add(`{"k":"snapshot","l":[2,2]}`, []byte("{}{}"), true)
	f.Add(`{"k":"snapshot","l":[2,1099511627776],"c":true}`, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}, true)
	f.Add(`{"v":1}`, []byte("x"), true)
	f.Fuzz(func(t *testing.T, text string, body []byte, seal bool) {
		if seal { // else the checksums keep everything out
			var h header
			if json.Unmarshal([]byte(text), &h) != nil {
				return
			}
			h.Version, h.Head.ID, h.Sum, h.Objects = Format, "fuzz", checksum(body), [2]*object{}
			var err error
			if text, err = h.encode(); err != nil {
				return
			}
		}
		r, err := readRecord("fuzz", stored{seq: 9, header: nats.Header{headHeader: {text}}, data: body})
		if err != nil {
			return
		}
		s := &Store{}
		if c, err := readPart[checkpoint](context.Background(), s, r, partCheckpoint); err == nil && c.From == (origins{}) {
			_, _, _ = s.state(context.Background(), r)
		}
		if j, err := readPart[journal](context.Background(), s, r, partJournal); err == nil {
			_, _ = j.loop(loops.State{})
			j.bound()
			if !json.Valid(j.encode()) {
				t.Errorf("the journal is not JSON: %s", j.encode())
			}
		}
	})
}

// BenchmarkHeader reads and verifies a header, which every process does with every
// commit of the others.
func BenchmarkHeader(b *testing.B) {
	h := sampleHeader()
	h.Objects, h.Head.Cancel = [2]*object{}, nil
	text, err := h.encode()
	if err != nil {
		b.Fatal(err)
	}
	for _, by := range []string{"hand", "json"} {
		b.Run("by="+by, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if by == "hand" {
					_, err = decodeHeader(text, h.Head.ID, 9)
				} else {
					var read header
					err = json.Unmarshal([]byte(text), &read)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
