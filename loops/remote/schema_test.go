package remote_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/remote"
	"github.com/invopop/jsonschema"
)

var update = flag.Bool("update", false, "write docs/handler.schema.json anew")

const schemaFile = "../../docs/handler.schema.json"

// wireTypes are the messages of the wire; the schema has a definition for each.
var wireTypes = []any{remote.Offer{}, remote.Call{}, remote.Message{}, remote.Answer{}, remote.Control{}, remote.Ping{}, remote.Check{}, remote.Checked{}}

// schema is the JSON Schema of the wire, made from its types.
func schema(t *testing.T) []byte {
	t.Helper()
	r := jsonschema.Reflector{Mapper: func(typ reflect.Type) *jsonschema.Schema {
		switch typ {
		case reflect.TypeFor[remote.Any]():
			return &jsonschema.Schema{}
		case reflect.TypeFor[loops.Duration]():
			return &jsonschema.Schema{Type: "string", Examples: []any{"10m0s"}}
		case reflect.TypeFor[loops.USD]():
			return &jsonschema.Schema{Type: "number", Minimum: "0"}
		}
		return nil
	}}
	defs := map[string]any{}
	var names []map[string]string
	for _, v := range wireTypes {
		one := r.Reflect(v)
		for name, def := range one.Definitions {
			if name == "Call" || name == "Ledger" || name == "Limits" { // newer fields are no reason to refuse
				def.AdditionalProperties = nil
			}
			defs[name] = def
		}
		names = append(names, map[string]string{"$ref": "#/$defs/" + reflect.TypeOf(v).Name()})
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/loop-mcp/handler.schema.json",
		"title": "Handlers elsewhere", "description": "The messages between loop-mcp and a handler, version 1; docs/handlers.md says when each is sent",
		"anyOf": names, "$defs": defs,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSchemaIsThatOfTheTypes(t *testing.T) {
	fresh := schema(t)
	if *update {
		if err := os.WriteFile(schemaFile, fresh, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	there, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(there, fresh) {
		t.Errorf("%s is behind the types of package remote; go test ./loops/remote -run TestSchema -update", schemaFile)
	}
	var s struct {
		Defs map[string]struct {
			Properties map[string]struct {
				Description string `json:"description"`
			} `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(fresh, &s); err != nil {
		t.Fatal(err)
	}
	for name, def := range s.Defs {
		for field, p := range def.Properties {
			if p.Description == "" && name != "Ledger" && name != "Limits" {
				t.Errorf("%s.%s says nothing about itself", name, field)
			}
		}
	}
}

// FuzzReadMessage: whatever a handler sends is a message that can be told on, or
// an error that says why not, and what is read is read again the same.
func FuzzReadMessage(f *testing.F) {
	for _, seed := range []string{
		`{"type":"result","output":"x","done":false,"score":0.5,"usage":{"input_tokens":1,"cost_usd":0.1},"memory":{"a":[1]}}`,
		`{"v":1,"type":"accept","key":"a-bbbb.1","by":"me","control":"x","runner":"y"}`,
		`{"type":"result","error":{"message":"m","kind":"transient","retry_after_seconds":1.5}}`,
		`{"type":"part","field":"memory","offset":3,"text":"\u0000"}`, `{"type":"result","parts":{"output":3}}`,
		`{"type":"emit","text":"\ud800","tool":"t"}`, `[]`, `{"type":"result","memory":null}`, `{"type":"result","ask":{"prompt":"?"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := remote.ReadMessage(data)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a text")
			}
			return
		}
		r, failed := m.Result()
		if u := r.Usage; u.Validate() != nil || u.Total() < 0 {
			t.Errorf("usage %+v", u)
		}
		if failed != nil && loops.FaultOf(failed).After < 0 {
			t.Errorf("%v", failed)
		}
		if r.Memory != nil && !json.Valid(r.Memory) {
			t.Errorf("memory %q", r.Memory)
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatalf("%q was read and can't be written: %v", data, err)
		}
		n, err := remote.ReadMessage(again)
		if err != nil || n.Type != m.Type || n.Output != m.Output || n.Text != m.Text || strings.TrimSpace(string(n.Memory)) == "" != (strings.TrimSpace(string(m.Memory)) == "") {
			t.Errorf("%q came back as %q: %v", data, again, err)
		}
	})
}
