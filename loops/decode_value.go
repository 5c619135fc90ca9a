package loops

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

func (d *decoder) boolean(v reflect.Value, _ place) error {
	yes := d.peek() == 't'
	v.SetBool(yes)
	return d.literal(strconv.FormatBool(yes))
}

func (d *decoder) str(v reflect.Value, at place) error {
	text, problem, err := d.text()
	if err != nil {
		return err
	}
	if problem != "" {
		d.found.add(at.path, "%s", problem)
		return nil
	}
	v.SetString(text)
	return nil
}

// whole reads an integer. 50.0 and 5e1 are how some clients write 50.
func (d *decoder) whole(v reflect.Value, at place) error {
	text, err := d.number()
	if err != nil {
		return err
	}
	n, perr := strconv.ParseInt(text, 10, 64)
	if perr != nil {
		f, _ := strconv.ParseFloat(text, 64)
		if f != math.Trunc(f) && !math.IsInf(f, 0) {
			d.found.add(at.path, "must be a whole number, got %s", shown(text))
			return nil
		}
		if math.Abs(f) > 1<<53 {
			d.found.add(at.path, "is too large, got %s", shown(text))
			return nil
		}
		n = int64(f)
	}
	switch {
	case v.CanUint() && n < 0:
		d.found.add(at.path, "must not be negative, got %s", shown(text))
		return nil
	case v.CanUint() && v.OverflowUint(uint64(n)), v.CanInt() && v.OverflowInt(n):
		d.found.add(at.path, "is too large, got %s", shown(text))
		return nil
	case v.CanUint():
		v.SetUint(uint64(n))
	default:
		v.SetInt(n)
	}
	d.checkMin(v, text, at)
	return nil
}

func (d *decoder) float(v reflect.Value, at place) error {
	text, err := d.number()
	if err != nil {
		return err
	}
	if f, err := strconv.ParseFloat(text, v.Type().Bits()); err == nil {
		v.SetFloat(f)
		d.checkMin(v, text, at)
	} else {
		d.found.add(at.path, "is too large, got %s", shown(text))
	}
	return nil
}

func (d *decoder) checkMin(v reflect.Value, text string, at place) {
	if problem := belowMin(v, []byte(text), at); problem != "" {
		d.found.add(at.path, "%s", problem)
	}
}

func (d *decoder) list(v reflect.Value, at place) error {
	all := reflect.Zero(v.Type())
	err := d.items(func(i int) error {
		one := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(one, place{path: itemPath(at.path, i), item: true}); err != nil {
			return err
		}
		all = reflect.Append(all, one)
		return nil
	})
	v.Set(all)
	return err
}

func (d *decoder) mapping(v reflect.Value, at place) error {
	all := reflect.MakeMap(v.Type())
	seen := map[string]bool{}
	err := d.members(func(key, problem string) error {
		here := place{path: fieldPath(at.path, key), key: key}
		if problem != "" {
			here.path = at.path
			d.found.add(at.path, "a key %s", problem)
		}
		if seen[key] {
			d.found.add(here.path, "is given twice")
		}
		seen[key] = true
		if d.peek() == 'n' {
			return d.literal("null")
		}
		one := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(one, here); err != nil {
			return err
		}
		all.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), one)
		return nil
	})
	v.SetZero()
	if all.Len() > 0 {
		v.Set(all)
	}
	return err
}

func (d *decoder) object(v reflect.Value, at place) error {
	fields := d.fieldsOf(v.Type())
	seen := map[string]bool{}
	return d.members(func(key, problem string) error {
		f, known := fields.byName[key]
		here := place{path: fieldPath(at.path, key), key: key, min: f.min}
		switch {
		case problem != "":
			d.found.add(at.path, "a key %s", problem)
			known = false
		case !known:
			d.found.add(here.path, "unknown key%s", d.unknownHint(fields, at.path, key))
		case seen[key]:
			d.found.add(here.path, "is given twice")
			known = false
		}
		seen[key] = true
		if !known {
			_, err := d.skip(false)
			return err
		}
		return d.value(fieldAt(v, f.index), here)
	})
}

// unknownHint says what an unknown key may have been meant to be: a neighbour
// with nearly the same name, or a key one level down.
func (d *decoder) unknownHint(fields *decodeFields, path, key string) string {
	if d.found.full() {
		return ""
	}
	for _, name := range fields.names {
		t := fields.byName[name].typ
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			continue
		}
		if _, ok := d.fieldsOf(t).byName[key]; ok {
			return ", it belongs into " + fieldPath(path, name) + ": " + fieldPath(fieldPath(path, name), key)
		}
	}
	if near := DidYouMean(key, fields.names); near != "" {
		return near
	}
	return "; known are " + strings.Join(fields.names, ", ")
}

func (d *decoder) anything(v reflect.Value, at place) error {
	value, err := d.free(at.path)
	if err == nil && value != nil {
		v.Set(reflect.ValueOf(value))
	}
	return err
}

// free reads any value into the types that encoding/json uses for it.
func (d *decoder) free(path string) (any, error) {
	switch next := d.peek(); {
	case next == '{':
		all := map[string]any{}
		err := d.members(func(key, problem string) error {
			if problem != "" {
				d.found.add(path, "a key %s", problem)
			}
			if _, twice := all[key]; twice {
				d.found.add(fieldPath(path, key), "is given twice")
			}
			one, err := d.free(fieldPath(path, key))
			all[key] = one
			return err
		})
		return all, err
	case next == '[':
		all := []any{}
		err := d.items(func(i int) error {
			one, err := d.free(itemPath(path, i))
			all = append(all, one)
			return err
		})
		return all, err
	case next == '"':
		var text string
		err := d.str(reflect.ValueOf(&text).Elem(), place{path: path})
		return text, err
	case startsNumber(next):
		var f float64
		err := d.float(reflect.ValueOf(&f).Elem(), place{path: path})
		return f, err
	case next == 't', next == 'f':
		return next == 't', d.literal(strconv.FormatBool(next == 't'))
	case next == 'n':
		return nil, d.literal("null")
	}
	return nil, d.unexpected("a value")
}

// mismatch notes that the next value is not what a field of type t takes.
func (d *decoder) mismatch(t reflect.Type, at place) error {
	start := d.pos
	text := ""
	if d.peek() == '"' {
		text, _, _ = d.text()
		d.pos = start
	}
	if _, err := d.skip(false); err != nil {
		return err
	}
	raw := string(d.data[start:d.pos])
	d.found.add(at.path, "must be %s, got %s%s", typeWords(t), oneLine(shown(raw)), d.writeHint(t, at, raw, text))
	return nil
}

// writeHint shows how a value of a nearby type would have been written.
func (d *decoder) writeHint(t reflect.Type, at place, raw, text string) string {
	prefix := "; write "
	if at.key != "" {
		prefix += at.key + ": "
	}
	switch {
	case len(raw) > 60 || raw == "null":
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String && text != "":
		if at.key != "run" {
			return prefix + jsonList(text)
		}
		return prefix + jsonList(strings.Fields(text)...) + "; no shell is used"
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct && raw[0] == '{':
		return prefix + "[" + oneLine(shown(raw)) + "]"
	case t.Kind() == reflect.Struct && raw[0] != '[':
		fields := d.fieldsOf(t)
		if _, ok := fields.byName["kind"]; ok && text != "" {
			return prefix + fmt.Sprintf(`{"kind": %s}`, shown(raw))
		}
		if len(fields.names) == 1 {
			return prefix + fmt.Sprintf(`{%q: %s}`, fields.names[0], shown(raw))
		}
	}
	return ""
}

func jsonList(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		b, err := json.Marshal(shown(w))
		if err != nil {
			return "a list"
		}
		quoted[i] = string(b)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// typeWords says in words what a field of type t takes.
func typeWords(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return typeWords(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return "a list of texts"
		}
		if t.Elem().Kind() == reflect.Struct {
			return "a list of objects"
		}
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	default:
		return "a whole number"
	}
}
