package kvstate

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops"
)

// TestACopyOfAnOriginIsNobodysElse sets every field, copies and changes
// everything in place.
func TestACopyOfAnOriginIsNobodysElse(t *testing.T) {
	var o, want loops.Origin
	(&filler{every: true}).fill(reflect.ValueOf(&o).Elem())
	data, err := json.Marshal(o)
	if err := errors.Join(err, json.Unmarshal(data, &want)); err != nil {
		t.Fatal(err)
	}
	o = want // as it is read
	data, got := must(json.Marshal(o)), deepCopy(&o)
	if !reflect.DeepEqual(got, want) {
		t.Fatal(cmp.Diff(want, got))
	}
	spoil(reflect.ValueOf(&o).Elem())
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the copy changed with the original:\n%s", diff)
	}
	if zero := deepCopy(&loops.Origin{}); !reflect.DeepEqual(zero, loops.Origin{}) {
		t.Errorf("the copy of nothing is %+v", zero)
	}
}

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}

// spoil changes all that v refers to, where it is.
func spoil(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for _, f := range v.Fields() {
			spoil(f)
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			spoil(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			spoil(v.Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			spoil(v.MapIndex(key))
			v.SetMapIndex(key, reflect.Zero(v.Type().Elem()))
		}
	default:
		if v.CanSet() {
			v.SetZero()
		}
	}
}

// BenchmarkOrigin copies what every Load hands out.
func BenchmarkOrigin(b *testing.B) {
	var o loops.Origin
	(&filler{every: true}).fill(reflect.ValueOf(&o).Elem())
	raw := must(json.Marshal(o))
	for _, by := range []string{"copy", "json"} {
		b.Run("by="+by, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if by == "copy" {
					o = deepCopy(&o)
				} else if err := json.Unmarshal(raw, &o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
