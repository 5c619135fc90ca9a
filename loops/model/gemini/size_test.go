package gemini

import (
	"reflect"
	"testing"

	"google.golang.org/genai"
)

// TestTheProgramHoldsOneMethodOfTheAPI: a client in a field made the program
// 3 MB larger. A linker that can't tell which methods reflection will ask for
// keeps all of a type that it finds below a value in an interface.
func TestTheProgramHoldsOneMethodOfTheAPI(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(at reflect.Type) {
		if seen[at] {
			return
		}
		seen[at] = true
		switch at.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Chan:
			walk(at.Elem())
		case reflect.Map:
			walk(at.Key())
			walk(at.Elem())
		case reflect.Struct:
			for f := range at.Fields() {
				walk(f.Type)
			}
		case reflect.Func:
			for in := range at.Ins() {
				walk(in)
			}
			for out := range at.Outs() {
				walk(out)
			}
		}
	}
	walk(reflect.TypeFor[Model]())
	for _, heavy := range []reflect.Type{reflect.TypeFor[genai.Client](), reflect.TypeFor[genai.Models]()} {
		if seen[heavy] {
			t.Errorf("a Model leads to %s; hold a function that calls it", heavy)
		}
	}
	if !seen[reflect.TypeFor[genai.GenerateContentConfig]()] {
		t.Error("the walk does not follow functions")
	}
}
