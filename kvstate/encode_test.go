package kvstate

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops"
)

// filler sets fields, so that a type that gets one more is tested with it.
type filler struct {
	r     *rand.Rand
	every bool // all fields; else some, with odd values
	n     int64
	open  []reflect.Type // that are being filled in
}

// hard are texts with what JSON has to be careful with.
var hard = []string{"", "plain", `"quoted" \ {`, "two\nlines\r\t\x00\x1f\x7f", "größer · …", "\xff broken \xe2\x82", "\u2028 and \u2029", "<a href='x'>&</a>", "😀", "{"}

func (f *filler) fill(v reflect.Value) {
	f.open = append(f.open, v.Type())
	defer func() { f.open = f.open[:len(f.open)-1] }()
	if !f.every && f.r.IntN(3) == 0 {
		return
	}
	f.n++
	var known any
	if v.CanInterface() { // else it is embedded
		known = v.Addr().Interface()
	}
	switch x := known.(type) {
	case *time.Time:
		*x = time.Date(2026, 1, 2, 3, 4, 5, int(f.n)*1000, time.UTC)
		if !f.every && f.r.IntN(2) == 0 {
			*x = x.In(time.FixedZone("", 5400))
		}
		return
	case *json.RawMessage:
		*x = json.RawMessage(fmt.Sprintf(`{"n":%d}`, f.n))
		return
	case *loops.Duration:
		*x = loops.Duration(f.n * 1_234_567)
		return
	case *loops.USD:
		*x = loops.USD(f.n * 500_000)
		return
	}
	if v.Kind() == reflect.Struct && slices.Contains(f.open[:len(f.open)-1], v.Type()) {
		return // a condition of conditions
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprint("text ", f.n))
		if !f.every {
			v.SetString(hard[f.r.IntN(len(hard))])
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(f.n)
	case reflect.Uint64:
		v.SetUint(uint64(f.n))
	case reflect.Float64:
		v.SetFloat(float64(f.n) + 0.25)
		if !f.every {
			v.SetFloat((f.r.Float64() - 0.5) * []float64{1, 1e-9, 1e30}[f.r.IntN(3)])
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Interface:
		v.Set(reflect.ValueOf([]any{"text", map[string]any{"a": []any{1.5}}}))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		f.fill(v.Index(0))
		f.fill(v.Index(1))
	case reflect.Array:
		f.fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.fill(key)
			f.fill(value)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("json") != "-" {
				f.fill(v.Field(i))
			}
		}
	default:
		panic("a field has the type " + v.Type().String() + ", which this test cannot fill in")
	}
}

// written types by name, each with what writes it.
func byHand[T any](write func(w *writer, v *T)) func(t *testing.T, f *filler) {
	return func(t *testing.T, f *filler) {
		t.Helper()
		var v, got, want T
		f.fill(reflect.ValueOf(&v).Elem())
		w := &writer{}
		write(w, &v)
		if w.err != nil {
			t.Fatal(w.err)
		}
		if err := json.Unmarshal(w.b, &got); err != nil {
			t.Fatalf("%v: %s", err, w.b)
		}
		data, err := json.Marshal(&v)
		if err == nil {
			err = json.Unmarshal(data, &want)
		}
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(headerText{})); diff != "" {
			t.Errorf("what was written by hand is not what package json writes:\n%s\n%s", diff, w.b)
		}
	}
}

func handwritten() map[string]func(t *testing.T, f *filler) {
	return map[string]func(t *testing.T, f *filler){
		"header": byHand(func(w *writer, h *headerText) {
			w.header(&h.header)
			h.Head.Claim.Commit = 0 // the head of a record has none
			h.Limits, h.Head.Limits = listOf(&h.Head.Limits), loops.Limits{}
		}),
		"state": byHand(func(w *writer, s *loops.State) {
			w.members(func() { w.state(s) })
			apart(s)
		}),
		"checkpoint": byHand(func(w *writer, c *checkpoint) {
			w.b, w.err = c.encode()
			apart(&c.State)
		}),
		"delta": byHand(func(w *writer, d *loops.Delta) {
			if d.Iteration != nil {
				d.Iteration.Verdict = nil // is joined from the decision
			}
			_, w.b, w.err = encodeDelta(d)
		}),
	}
}

// apart takes out of a state what the head of its record says.
func apart(s *loops.State) {
	(&header{Version: Format}).complete(s)
}

// TestHeadAndCheckpointMakeAState: what one of the two leaves out, the other has.
func TestHeadAndCheckpointMakeAState(t *testing.T) {
	for seed := range uint64(501) {
		var st, want loops.State
		(&filler{r: rand.New(rand.NewPCG(seed, 3)), every: seed == 0}).fill(reflect.ValueOf(&st).Elem())
		st.ID = "sample-aaaa"
		text, err := header{Version: Format, Kind: snapshot, Head: st.Head()}.encode()
		if err != nil {
			t.Fatal(err)
		}
		body, err := (&checkpoint{State: st}).encode()
		if err != nil {
			t.Fatal(err)
		}
		h, err := decodeHeader(text, st.ID, 9)
		if err != nil {
			t.Fatal(err)
		}
		var c checkpoint
		all, err := json.Marshal(st)
		if err := errors.Join(err, json.Unmarshal(body, &c), json.Unmarshal(all, &want)); err != nil {
			t.Fatal(err)
		}
		h.complete(&c.State)
		if diff := cmp.Diff(want, c.State); diff != "" {
			t.Fatalf("seed %d: %s\n%s", seed, diff, text)
		}
	}
}

// TestAStateOfFormat1IsWhole: its head adds nothing.
func TestAStateOfFormat1IsWhole(t *testing.T) {
	st := loops.State{Status: loops.Paused, Cursor: 7}
	(&header{Version: 1, Head: loops.Head{Status: loops.Queued}}).complete(&st)
	if st.Status != loops.Paused || st.Cursor != 7 {
		t.Errorf("%+v", st)
	}
}

// TestLimitsInAList fails when a limit is added that is not in the list.
func TestLimitsInAList(t *testing.T) {
	var want loops.Limits
	(&filler{every: true}).fill(reflect.ValueOf(&want).Elem())
	if diff := cmp.Diff(want, listOf(&want).limits()); diff != "" {
		t.Error(diff)
	}
}

// TestRecordsAreWrittenAsPackageJSONDoes fails when a field is added that is
// written by no hand.
func TestRecordsAreWrittenAsPackageJSONDoes(t *testing.T) {
	for name, check := range handwritten() {
		t.Run(name, func(t *testing.T) { check(t, &filler{every: true}) })
		t.Run(name+"/some fields", func(t *testing.T) {
			for seed := range uint64(500) {
				if check(t, &filler{r: rand.New(rand.NewPCG(seed, 1))}); t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}

// TestZeroIsNotWritten: most fields of most records are zero.
func TestZeroIsNotWritten(t *testing.T) {
	data, err := (&checkpoint{}).encode()
	if err != nil || string(data) != `{"state":{}}` {
		t.Errorf("%s, %v", data, err)
	}
	_, data, err = encodeDelta(&loops.Delta{Iteration: &loops.Iteration{}, Events: []loops.Event{{}}})
	if err != nil || string(data) != `{"iteration":{},"events":[{}]}` {
		t.Errorf("%s, %v", data, err)
	}
}

// TestWhatIsNotJSONIsNotWritten: such a record could never be read.
func TestWhatIsNotJSONIsNotWritten(t *testing.T) {
	for name, st := range map[string]loops.State{
		"a note":   {Notes: map[string]json.RawMessage{"all[0]": json.RawMessage("{")}},
		"a number": {Best: &loops.Best{Score: inf()}},
		"a time":   {WaitingSince: time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if data, err := (&checkpoint{State: st}).encode(); err == nil {
			t.Errorf("%s: written as %s", name, data)
		}
	}
}

func inf() float64 {
	var zero float64
	return 1 / zero
}

// TestEntriesOfADelta are what the delta says, each on its own.
func TestEntriesOfADelta(t *testing.T) {
	for seed := range uint64(200) {
		var d loops.Delta
		(&filler{r: rand.New(rand.NewPCG(seed, 2))}).fill(reflect.ValueOf(&d).Elem())
		raw, data, err := encodeDelta(&d)
		if err != nil {
			t.Fatal(err)
		}
		var want rawDelta
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		if len(raw.Verdicts) == 0 {
			raw.Verdicts = nil
		}
		if len(raw.Events) == 0 {
			raw.Events = nil
		}
		if diff := cmp.Diff(want, raw); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
	}
}

// FuzzText writes a text by hand: it is read as what package json makes of it.
func FuzzText(f *testing.F) {
	for _, text := range hard {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w := &writer{}
		w.quote(text)
		data, err := json.Marshal(text)
		var got, want string
		if err := errors.Join(err, json.Unmarshal(w.b, &got), json.Unmarshal(data, &want)); err != nil || got != want {
			t.Errorf("%q is written as %s and read as %q, want %q: %v", text, w.b, got, want, err)
		}
	})
}
