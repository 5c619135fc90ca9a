package loops

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// maxNesting bounds how deep JSON may be nested; nothing of ours is deeper than
// ten levels.
const maxNesting = 64

// Decode reads JSON into the value that into points to, strictly, and reports
// every problem at once as joined [FieldError]s whose fields are paths such as
// "until.all[0].run[2]". It follows the json tags of structs.
//
// Problems are: unknown, misspelt and repeated keys; values of another type;
// numbers that do not fit; explicit numbers below a field's tag min:"1"; texts
// that are not UTF-8 or hold control characters other than line breaks and
// tabs. Keys are matched exactly. null means left out, except in a list. Empty
// lists and objects become nil. A value whose type implements
// [json.Unmarshaler] reads itself; the text of its error is the problem. One that
// is [Verbatim], too, takes texts of any characters. Broken JSON is one FieldError
// with line and column.
//
// After an error the value is as it was. Decode does not check that a required
// field is there.
func Decode(data []byte, into any) error {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return fmt.Errorf("decode: %T is not a pointer to a value", into)
	}
	value := reflect.New(target.Type().Elem()).Elem()
	value.Set(target.Elem())
	d := &decoder{scanner: scanner{data: data}, types: map[reflect.Type]*decodeFields{}}
	if err := d.document(value); err != nil {
		return err
	}
	if err := d.found.err(); err != nil {
		return err
	}
	target.Elem().Set(value)
	return nil
}

// Verbatim is implemented by a type that [Decode] is to give its JSON as it is:
// what programs print may hold any characters.
type Verbatim interface {
	json.Unmarshaler
	Verbatim()
}

// DecodeSpec reads a spec from JSON. It does not check how the fields fit
// together: see [Spec.Validate].
func DecodeSpec(data []byte) (Spec, error) {
	var s Spec
	if err := Decode(data, &s); err != nil {
		return Spec{}, err
	}
	return s, nil
}

// decoder walks JSON and a Go value side by side. Problems of fields are
// collected in found; a returned error is broken JSON and ends the walk.
type decoder struct {
	scanner
	found problems
	types map[reflect.Type]*decodeFields
}

// place is where a value stands: its path, and what its struct tag asks of it.
type place struct {
	path string
	key  string // of the object that holds it
	min  *int64
	item bool // of a list
}

func (d *decoder) document(v reflect.Value) error {
	d.space()
	if d.pos == len(d.data) {
		return d.broken("it is empty")
	}
	if err := d.value(v, place{}); err != nil {
		return err
	}
	d.space()
	if d.pos < len(d.data) {
		return d.broken("there is more text after the end of the value")
	}
	return nil
}

var (
	rawMessageType  = reflect.TypeFor[json.RawMessage]()
	unmarshalerType = reflect.TypeFor[json.Unmarshaler]()
	verbatimType    = reflect.TypeFor[Verbatim]()
)

// value reads the next JSON value into v.
func (d *decoder) value(v reflect.Value, at place) error {
	t := v.Type()
	next := d.peek()
	if next == 'n' && !(at.item && t.Kind() != reflect.Interface) {
		return d.literal("null")
	}
	switch {
	case t == rawMessageType:
		return d.raw(v, at)
	case t.Kind() == reflect.Pointer:
		p := reflect.New(t.Elem())
		v.Set(p)
		return d.value(p.Elem(), at)
	case reflect.PointerTo(t).Implements(unmarshalerType):
		return d.custom(v, at)
	}
	want, ok := d.reader(t, next)
	if !ok {
		return d.mismatch(t, at)
	}
	return want(v, at)
}

// reader returns what reads a value that begins with next into a t; ok is false
// when such a value does not belong there.
func (d *decoder) reader(t reflect.Type, next byte) (read func(reflect.Value, place) error, ok bool) {
	switch t.Kind() {
	case reflect.Bool:
		return d.boolean, next == 't' || next == 'f'
	case reflect.String:
		return d.str, next == '"'
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return d.whole, startsNumber(next)
	case reflect.Float32, reflect.Float64:
		return d.float, startsNumber(next)
	case reflect.Slice:
		return d.list, next == '['
	case reflect.Map:
		return d.mapping, next == '{' && t.Key().Kind() == reflect.String
	case reflect.Struct:
		return d.object, next == '{'
	case reflect.Interface:
		return d.anything, t.NumMethod() == 0
	default:
		return nil, false
	}
}

// raw keeps the JSON text itself, once it is known to be sound.
func (d *decoder) raw(v reflect.Value, at place) error {
	start := d.pos
	problem, err := d.skip(true)
	if err != nil {
		return err
	}
	if problem != "" {
		d.found.add(at.path, "%s", problem)
		return nil
	}
	v.SetBytes(append([]byte(nil), d.data[start:d.pos]...))
	return nil
}

// custom lets the type read its own JSON.
func (d *decoder) custom(v reflect.Value, at place) error {
	start := d.pos
	problem, err := d.skip(!reflect.PointerTo(v.Type()).Implements(verbatimType))
	if err != nil {
		return err
	}
	raw := d.data[start:d.pos]
	if problem == "" {
		problem = d.unmarshal(v, raw, at)
	}
	if problem != "" {
		d.found.add(at.path, "%s", problem)
	}
	return nil
}

func (d *decoder) unmarshal(v reflect.Value, raw []byte, at place) string {
	err := v.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(raw)
	switch {
	case err == nil:
		return belowMin(v, raw, at)
	case at.min != nil && errors.Is(err, errNotWhole):
		return fmt.Sprintf("must be at least %d, got %s; write a whole number, k and M allowed (400k)", *at.min, shown(string(raw)))
	case at.min != nil && v.CanInt() && raw[0] == '-' && len(raw) > 1:
		v.SetInt(-1)
		return belowMin(v, raw, at)
	}
	return err.Error()
}

// belowMin checks the tag min. Where the unit is finer than what people write
// (nanoseconds, millionths of a dollar), at least 1 means more than nothing.
func belowMin(v reflect.Value, raw []byte, at place) string {
	if at.min == nil {
		return ""
	}
	below := v.CanInt() && v.Int() < *at.min ||
		v.CanFloat() && v.Float() < float64(*at.min) ||
		v.CanUint() && *at.min > 0 && v.Uint() < uint64(*at.min)
	if !below {
		return ""
	}
	switch v.Interface().(type) {
	case Duration, USD:
		return "must be more than 0, got " + shown(string(raw))
	}
	return fmt.Sprintf("must be at least %d, got %s", *at.min, shown(string(raw)))
}
