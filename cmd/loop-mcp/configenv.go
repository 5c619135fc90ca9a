package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
)

// overlay puts LOOP_MCP_NAME variables over the file: single values and lists
// (separated by commas). An empty variable counts as not set; names that are no
// key are not looked at.
func (c *config) overlay(env func(string) string) error {
	for key, into := range c.lists() {
		if text := env(variable(key)); text != "" {
			*into = splitList(text)
		}
	}
	for _, v := range c.values() {
		text := env(variable(v.key))
		if text == "" {
			continue
		}
		quoted, err := json.Marshal(text)
		if err == nil {
			err = json.Unmarshal(quoted, v.into)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", variable(v.key), err)
		}
	}
	if c.Workers < 0 || env(variable("workers")) == "0" || env(variable("live_loops")) == "0" {
		return fmt.Errorf("%s and %s must be at least 1", variable("workers"), variable("live_loops"))
	}
	return nil
}

// lists are the keys that a variable gives a list to.
func (c *config) lists() map[string]*[]string {
	return map[string]*[]string{
		"allow_commands": &c.AllowCommands, "roots": &c.Roots, "pass_env": &c.PassEnv, "loop_dirs": &c.LoopDirs,
		"notify": &c.Notify, "http_allowed_origins": &c.HTTP.AllowedOrigins,
	}
}

type setting struct {
	key  string
	into any
}

// values are the keys that a variable gives one value to.
func (c *config) values() []setting {
	return []setting{
		{"workers", &c.Workers}, {"live_loops", &c.LiveLoops}, {"approvals", &c.Approvals},
		{"durability", &c.Durability}, {"network_store", &c.NetworkStore}, {"retention", &c.Retention}, {"max_wait", &c.MaxWait}, {"daily_cost_usd", &c.DailyCostUSD},
		{"nats_url", &c.NATS.URL}, {"nats_creds_file", &c.NATS.CredsFile}, {"nats_ca_file", &c.NATS.CAFile},
		{"nats_cert_file", &c.NATS.CertFile}, {"nats_key_file", &c.NATS.KeyFile}, {"nats_replicas", &c.NATS.Replicas},
		{"http_listen", &c.HTTP.Listen}, {"http_token_env", &c.HTTP.TokenEnv},
	}
}

// variables are the names of all variables that are looked at.
func (c *config) variables() []string {
	names := []string{"LOOP_MCP_HOME", "LOOP_MCP_PARENT", defaultTokenEnv}
	for key := range c.lists() {
		names = append(names, variable(key))
	}
	for _, v := range c.values() {
		names = append(names, variable(v.key))
	}
	return names
}

func variable(key string) string { return "LOOP_MCP_" + strings.ToUpper(key) }

func splitList(text string) []string {
	list := []string{}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

var reference = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}`)

// expandEnv replaces ${VAR} and ${VAR:-default}. A variable that is not set and
// has no default is an error: an empty value would be taken for a decision.
func expandEnv(text string, env func(string) string) (string, error) {
	var missing error
	expanded := reference.ReplaceAllStringFunc(text, func(found string) string {
		m := reference.FindStringSubmatch(found)
		value := env(m[1])
		switch {
		case value != "":
			return value
		case m[2] == "" && missing == nil:
			missing = fmt.Errorf("the environment variable %s is not set; set it, or write ${%s:-default}", m[1], m[1])
		}
		return m[3]
	})
	return expanded, missing
}

// days is a duration that may also be written in days: 30d.
type days time.Duration

// UnmarshalJSON accepts the text form only.
func (d *days) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil && strings.HasSuffix(text, "d") {
		var count loops.Count
		quoted, _ := json.Marshal(strings.TrimSuffix(text, "d"))
		if err := count.UnmarshalJSON(quoted); err != nil || count > 36_500 {
			return fmt.Errorf("must be a number of days such as 30d, got %q", clip(text, 60))
		}
		*d = days(time.Duration(count) * 24 * time.Hour)
		return nil
	}
	var plain loops.Duration
	if err := plain.UnmarshalJSON(b); err != nil {
		return fmt.Errorf("%w; days are written 30d", err)
	}
	*d = days(plain)
	return nil
}
