package loops

import (
	"reflect"
	"strconv"
	"strings"
)

// decodeFields are the keys that a struct takes.
type decodeFields struct {
	byName map[string]decodeField
	names  []string // in the order of the struct
}

type decodeField struct {
	index []int
	typ   reflect.Type
	min   *int64
}

func (d *decoder) fieldsOf(t reflect.Type) *decodeFields {
	if known, ok := d.types[t]; ok {
		return known
	}
	fields := structFields(t)
	d.types[t] = fields
	return fields
}

// structFields lists the keys of struct t. Those of an embedded struct without
// a name of its own count as keys of t, unless t has the key itself.
func structFields(t reflect.Type) *decodeFields {
	fields := &decodeFields{byName: map[string]decodeField{}}
	var embedded []reflect.StructField
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Tag.Get("json") == "-":
		case f.Anonymous && name == "" && structOf(f.Type) != nil:
			embedded = append(embedded, f)
		case f.IsExported():
			if name == "" {
				name = f.Name
			}
			fields.put(name, decodeField{index: f.Index, typ: f.Type, min: minTag(f)})
		}
	}
	for _, e := range embedded {
		inner := structFields(structOf(e.Type))
		for _, name := range inner.names {
			f := inner.byName[name]
			f.index = append(append([]int(nil), e.Index...), f.index...)
			fields.put(name, f)
		}
	}
	return fields
}

func (f *decodeFields) put(name string, field decodeField) {
	if _, taken := f.byName[name]; taken {
		return
	}
	f.byName[name] = field
	f.names = append(f.names, name)
}

// structOf returns the struct type behind t, or nil.
func structOf(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	return t
}

func minTag(f reflect.StructField) *int64 {
	tag, ok := f.Tag.Lookup("min")
	if !ok {
		return nil
	}
	n, err := strconv.ParseInt(tag, 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// fieldAt is [reflect.Value.FieldByIndex] that allocates embedded pointers.
func fieldAt(v reflect.Value, index []int) reflect.Value {
	for i, x := range index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(x)
	}
	return v
}
