package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/agent/mcptools"
	"example.com/loop-mcp/loops/loopfile"
)

// config is what the operator decided: configuration file, then environment.
// The zero value of a field means "left out".
type config struct {
	AllowCommands []string       `json:"allow_commands"`
	Roots         []string       `json:"roots"` // absolute after load
	PassEnv       []string       `json:"pass_env"`
	LoopDirs      []string       `json:"loop_dirs"`
	Workers       loops.Count    `json:"workers" min:"1"`
	Limits        limitsConfig   `json:"limits"`
	LiveLoops     loops.Count    `json:"live_loops" min:"1"`
	Approvals     string         `json:"approvals"`
	Durability    string         `json:"durability"`
	NetworkStore  string         `json:"network_store"`
	Retention     days           `json:"retention"`
	MaxWait       loops.Duration `json:"max_wait"`
	Notify        []string       `json:"notify"`
	DailyCostUSD  loops.USD      `json:"daily_cost_usd" min:"1"`

	Models     map[string]modelConfig     `json:"models"`
	Judge      judgeConfig                `json:"judge"`
	MCPServers map[string]mcptools.Server `json:"mcp_servers"`

	NATS natsConfig `json:"nats"`
	HTTP httpConfig `json:"http"`

	later
}

type limitsConfig struct {
	Defaults loops.Limits `json:"defaults"`
	Ceilings loops.Limits `json:"ceilings"`
}

// later are words that this version knows and has no feature for. They are
// refused: a setting that does nothing would be believed in.
type later struct {
	Telemetry laterWord `json:"telemetry"`
}

type laterWord struct{}

var errLater = errors.New("this version of loop-mcp has no such feature; leave it out")

// UnmarshalJSON refuses every value.
func (*laterWord) UnmarshalJSON([]byte) error { return errLater }

// The values of approvals, durability and network_store.
const (
	approvalsAuto     = "auto"
	approvalsPerson   = "person"
	durabilityPower   = "power"
	durabilityProcess = "process"
	networkRefuse     = "refuse"
	networkAllow      = "allow"
)

// loadConfig reads the configuration. A missing file is the default one, unless
// it was named (explicit).
func loadConfig(path string, explicit bool, env func(string) string) (config, error) {
	var c config
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !explicit:
	case err != nil:
		return config{}, fmt.Errorf("read the configuration: %w", err)
	default:
		if err := c.decode(data, env); err != nil {
			return config{}, inFile(path, err)
		}
		c.NATS.beside(filepath.Dir(path))
	}
	if err := c.overlay(env); err != nil {
		return config{}, err
	}
	if err := c.check(); err != nil {
		return config{}, inFile(path, err)
	}
	return c, c.resolve(filepath.Dir(path), env)
}

func (c *config) decode(data []byte, env func(string) string) error {
	expand := func(text string) (string, error) { return expandEnv(text, env) }
	return loopfile.DecodeYAML(data, c, expand)
}

// check refuses values outside their set.
func (c *config) check() error {
	return errors.Join(
		oneOf("approvals", c.Approvals, approvalsAuto, approvalsPerson),
		oneOf("durability", c.Durability, durabilityPower, durabilityProcess),
		oneOf("network_store", c.NetworkStore, networkRefuse, networkAllow),
		between("max_wait", time.Duration(c.MaxWait), time.Second, maxWait),
		between("retention", time.Duration(c.Retention), time.Minute, 100*365*24*time.Hour),
		c.NATS.check(),
		c.HTTP.check(),
		checkNotify(c.Notify),
		c.checkModels(),
		mcptools.Config{Servers: c.MCPServers}.Validate(),
	)
}

// maxWait is the longest that a tool call may wait: clients give up after 60 s.
const maxWait = 50 * time.Second

func oneOf(field, value string, allowed ...string) error {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return &loops.FieldError{Field: field, Problem: fmt.Sprintf("must be %s, got %q", strings.Join(allowed, " or "), clip(value, 60))}
}

func between(field string, value, low, high time.Duration) error {
	if value == 0 || value >= low && value <= high {
		return nil
	}
	return &loops.FieldError{Field: field, Problem: fmt.Sprintf("must be between %s and %s, got %s", low, high, value)}
}

// resolve fills in the defaults and makes folders absolute.
// Scripts of models and the program of notify stand beside the configuration
// that names them.
func (c *config) resolve(dir string, env func(string) string) error {
	if c.Roots == nil {
		c.Roots = []string{"~"}
	}
	if c.LoopDirs == nil {
		c.LoopDirs = []string{".loops"}
	}
	for name, m := range c.Models {
		if m.APIKeyEnv == "" && m.BaseURL == "" {
			m.APIKeyEnv = usualKeys[m.Provider]
		}
		if m.Script != "" && !filepath.IsAbs(m.Script) {
			m.Script = filepath.Join(dir, m.Script)
		}
		c.Models[name] = m
	}
	if len(c.Notify) > 0 && strings.ContainsRune(c.Notify[0], filepath.Separator) && !filepath.IsAbs(c.Notify[0]) && c.Notify[0][0] != '~' {
		c.Notify[0] = filepath.Join(dir, c.Notify[0])
	}
	for i, root := range c.Roots {
		abs, err := absolute(root, env)
		if err != nil {
			return fmt.Errorf("roots[%d]: %w", i, err)
		}
		c.Roots[i] = abs
	}
	for i, dir := range c.LoopDirs {
		abs, err := absolute(dir, env)
		if err != nil {
			return fmt.Errorf("loop_dirs[%d]: %w", i, err)
		}
		c.LoopDirs[i] = abs
	}
	return nil
}

// absolute makes a folder absolute; ~ is the home folder.
func absolute(path string, env func(string) string) (string, error) {
	if path == "" {
		return "", errors.New("must not be empty")
	}
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || rest[0] == '/' || rest[0] == filepath.Separator) {
		home, err := homeDir(env)
		if err != nil {
			return "", err
		}
		return filepath.Join(home, rest), nil
	}
	return filepath.Abs(path)
}

// inFile puts the file's name in front of each problem.
func inFile(path string, err error) error {
	found := loops.FieldErrors(err)
	if len(found) == 0 {
		return fmt.Errorf("%s: %w", path, err)
	}
	lines := make([]string, len(found))
	for i, e := range found {
		lines[i] = path + ": " + e.Error()
	}
	return &exitError{code: exitProblem, err: errors.New(strings.Join(lines, "\n"))}
}
