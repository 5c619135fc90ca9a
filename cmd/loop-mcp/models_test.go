package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/model"
)

// dialed makes models that only have an info.
func dialed(name string, c modelConfig) (model.Model, error) {
	info := model.Info{ID: c.Provider + "/" + c.Model, Provider: c.Provider, Model: c.Model, Price: c.Price.price()}
	return infoModel{info: info}, nil
}

type infoModel struct {
	model.Model
	info model.Info
}

func (m infoModel) Info() model.Info { return m.info }

func catalogOf(t *testing.T, text string, env environment) *catalog {
	t.Helper()
	c, err := loadConfig(configFile(t, text), true, environment{"HOME": "/h"}.get)
	if err != nil {
		t.Fatal(err)
	}
	return newCatalog(c, env.get, dialed)
}

const threeModels = `
models:
  smart: { provider: anthropic, model: big, price: { input: 3, output: 15 }, fallback: spare }
  spare: { provider: openai, model: small, price: { input: 1, output: 5 }, fallback: offline }
  offline: { provider: script, script: answers.yaml }
  local: { provider: openai, model: qwen, wire: chat, base_url: "http://127.0.0.1:1/v1" }
judge: { model: spare }
`

func TestResolveModels(t *testing.T) {
	both := environment{"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "b"}
	for name, test := range map[string]struct {
		config, name, role string
		env                environment
		want               loops.ModelRef
		err                string
	}{
		"usual worker":         {threeModels, "", loops.RoleWorker, both, loops.ModelRef{Name: "smart", ID: "anthropic/big", Priced: true}, ""},
		"usual judge":          {threeModels, "", loops.RoleJudge, both, loops.ModelRef{Name: "spare", ID: "openai/small", Priced: true}, ""},
		"key of the fallback":  {threeModels, "smart", "", environment{"OPENAI_API_KEY": "b"}, loops.ModelRef{Name: "smart", ID: "openai/small", Priced: true}, ""},
		"no key, a script":     {threeModels, "smart", "", nil, loops.ModelRef{Name: "smart", ID: "script/"}, ""},
		"no price":             {threeModels, "local", "", nil, loops.ModelRef{Name: "local", ID: "openai/qwen"}, ""},
		"unknown":              {threeModels, "smrt", "", both, loops.ModelRef{}, "did you mean smart?; configured are: local, offline, smart, spare"},
		"no key at all":        {"models: {smart: {provider: gemini, model: x}}", "smart", "", nil, loops.ModelRef{}, "model smart needs its key: set GEMINI_API_KEY"},
		"one model":            {"models: {only: {provider: openai, model: x, base_url: \"http://h\"}}", "", loops.RoleWorker, nil, loops.ModelRef{Name: "only", ID: "openai/x"}, ""},
		"nothing configured":   {"", "", loops.RoleWorker, nil, loops.ModelRef{}, "no model is configured: set ANTHROPIC_API_KEY"},
		"a key and no models":  {"", "", loops.RoleWorker, environment{"GEMINI_API_KEY": "k"}, loops.ModelRef{Name: "smart", ID: "gemini/gemini-3.8-flash"}, ""},
		"the other one judges": {"", "", loops.RoleJudge, both, loops.ModelRef{Name: "fast", ID: "openai/gpt-6-luna"}, ""},
		"none fits the role":   {"models: {a: {provider: openai, model: x, base_url: \"http://h\"}, b: {provider: openai, model: x, base_url: \"http://h\"}}", "", loops.RoleWorker, nil, loops.ModelRef{}, `there is no model "smart"`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := catalogOf(t, test.config, test.env).Resolve(test.name, test.role)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got %v, want %q", err, test.err)
				}
				return
			}
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Error(diff, err)
			}
		})
	}
}

func ids(models []model.Model) string {
	var all []string
	for _, m := range models {
		all = append(all, m.Info().ID)
	}
	return strings.Join(all, " ")
}

func TestOpenWhatALoopHasPinned(t *testing.T) {
	both := environment{"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "b"}
	c := catalogOf(t, threeModels, both)
	for id, want := range map[string]string{
		"": "anthropic/big openai/small", "anthropic/big": "anthropic/big openai/small", "openai/small": "openai/small anthropic/big",
		"openai/qwen": "openai/qwen", // configured under another name
	} {
		if got, err := c.Open("smart", id); err != nil || ids(got) != want {
			t.Errorf("%q opens %s, %v; want %s", id, ids(got), err, want)
		}
	}
	if _, err := c.Open("smart", "anthropic/old"); err == nil || !strings.Contains(err.Error(), "was created with anthropic/old, and smart stands for anthropic/big now") {
		t.Errorf("a model that is gone: %v", err)
	}
	// A script is for trying things out: it never takes over while a real model is down.
	if got, _ := c.Open("smart", ""); strings.Contains(ids(got), "script") {
		t.Errorf("opens %s", ids(got))
	}
}

func TestModelProblems(t *testing.T) {
	for text, want := range map[string]string{
		"models: {a: {provider: opnai, model: x}}":                                                             "models.a.provider: must be anthropic, openai, gemini or script, got \"opnai\", did you mean openai?",
		"models: {a: {provider: openai}}":                                                                      "models.a.model: is missing",
		"models: {a: {provider: gemini, model: x, wire: chat}}":                                                "models.a.wire: belongs to the provider openai",
		"models: {a: {provider: openai, model: x, wire: tcp}}":                                                 "models.a.wire: must be responses or chat",
		"models: {a: {provider: openai, model: x, api_key_env: sk-12345}}":                                     "models.a.api_key_env: must be the name of an environment variable, not a key",
		"models: {a: {provider: openai, model: x, price: {input: 1}}}":                                         "models.a.price: needs input and output",
		"models: {a: {provider: openai, model: x, fallback: b}}":                                               "models.a.fallback: no model \"b\" is configured",
		"models: {a: {provider: openai, model: x, fallback: b}, b: {provider: openai, model: x, fallback: a}}": "models.a.fallback: leads back to a",
		"models: {a: {provider: script}}":                                                                      "models.a.script: is the file",
		"models: {a: {provider: openai, model: x}}\njudge: {model: c}":                                         "judge.model: no model \"c\" is configured",
		"models: {a: {provider: openai, model: x, api_key: secret}}":                                           "api_key",
		"mcp_servers: {files: {}}":                                                                             "mcp_servers.files",
	} {
		if _, err := loadConfig(configFile(t, text), true, environment{"HOME": "/h"}.get); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v, want %q", text, err, want)
		}
	}
}

// TestEveryProviderIsDialed: what the configuration allows can be made.
func TestEveryProviderIsDialed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "answers.yaml")
	if err := os.WriteFile(file, []byte("turns: [{say: hello}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	dial := dialer(environment{"KEY": "k"}.get)
	for want, c := range map[string]modelConfig{
		"anthropic/claude-sonnet-5":  {Provider: providerAnthropic, Model: "claude-sonnet-5", APIKeyEnv: "KEY"},
		"openai/gpt-6-sol":           {Provider: providerOpenAI, Model: "gpt-6-sol", APIKeyEnv: "KEY"},
		"gemini/gemini-3.8-flash":    {Provider: providerGemini, Model: "gemini-3.8-flash", APIKeyEnv: "KEY"},
		"script/answers.yaml":        {Provider: providerScript, Script: file},
		"openai/qwen@127.0.0.1:4242": {Provider: providerOpenAI, Model: "qwen", Wire: wireChat, BaseURL: "http://127.0.0.1:4242/v1"},
	} {
		m, err := dial("x", c)
		if err != nil || m.Info().ID != want {
			t.Errorf("%+v gives %v, %v", c, m, err)
			continue
		}
		if known := m.Info().Price != nil; known != (c.BaseURL == "" && c.Provider != providerScript) {
			t.Errorf("%s has the price %+v", want, m.Info().Price)
		}
	}
	if _, err := dial("x", modelConfig{Provider: providerScript, Script: file + ".none"}); err == nil || !strings.Contains(err.Error(), "read the script of the model") {
		t.Error(err)
	}
}

// TestALoopWhoseModelIsGoneSaysWhatToDo: it names one, and none is configured any
// more.
func TestALoopWhoseModelIsGoneSaysWhatToDo(t *testing.T) {
	_, err := catalogOf(t, "", nil).chain("smart")
	if err == nil || !strings.Contains(err.Error(), `"smart"`) || !strings.Contains(err.Error(), "set ANTHROPIC_API_KEY") || strings.Contains(err.Error(), "configured are") {
		t.Errorf("it says %v", err)
	}
}
