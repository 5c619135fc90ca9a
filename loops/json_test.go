package loops

import (
	"encoding/json"
	"strings"
	"testing"
)

func FuzzValidJSON(f *testing.F) {
	for _, text := range []string{
		``, ` `, `null`, `nul`, `true `, ` false`, `falsey`, `"a"`, `"`, `"\`, `"\"`, `"\u12aF"`, `"\u12g4"`, `"\u123`, `"\x"`, "\"\x1f\"", "\"\xff\"", "\"\x7f\"",
		`{}`, `{ "a" : 1 , "b":[ ] }`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{"a":1]`, `{,}`, `[]`, `[1,]`, `[1 2]`, `[1`, `]`, `{`, `[}`,
		`0`, `-0`, `-`, `01`, `-01`, `1.`, `.5`, `1.5e`, `1.5e+`, `1e-7`, `1E+07`, `+1`, `1e5.5`, `1 2`, `{"a":1}x`, "\v1", "\ufeff1", `[[[[]]]]`, `{"a":{"b":[{"c":null}]}}`,
		strings.Repeat("[", 9_999) + strings.Repeat("]", 9_999), strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000),
		strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001), strings.Repeat(`{"a":`, 10_001) + "1" + strings.Repeat("}", 10_001),
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, want := ValidJSON(data), json.Valid(data); got != want {
			t.Errorf("ValidJSON(%.100q) is %t, package json says %t", data, got, want)
		}
	})
}
