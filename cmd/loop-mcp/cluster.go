package main

import (
	"log/slog"
	"path/filepath"

	"example.com/loop-mcp/kvstate/cluster"
	"example.com/loop-mcp/loops"
)

// natsConfig names NATS servers that keep the loops. Without a URL they are in
// the data folder.
type natsConfig struct {
	URL       string      `json:"url"`
	CredsFile string      `json:"creds_file"`
	CAFile    string      `json:"ca_file"`
	CertFile  string      `json:"cert_file"`
	KeyFile   string      `json:"key_file"`
	Replicas  loops.Count `json:"replicas" min:"1"`
}

// beside makes the files of a configuration absolute: they stand beside it.
func (c *natsConfig) beside(dir string) {
	for _, file := range []*string{&c.CredsFile, &c.CAFile, &c.CertFile, &c.KeyFile} {
		if *file != "" && !filepath.IsAbs(*file) {
			*file = filepath.Join(dir, *file)
		}
	}
}

// override puts flags over the configuration.
func (c *natsConfig) override(url, creds string) error {
	if url != "" {
		c.URL = url
	}
	if creds != "" {
		c.CredsFile = creds
	}
	if url == "" && creds == "" {
		return nil
	}
	if err := c.check(); err != nil {
		return usagef("--nats, --creds: %w", err)
	}
	return nil
}

// check says what is wrong as far as no server is needed to know.
func (c *natsConfig) check() error {
	if *c == (natsConfig{}) {
		return nil
	}
	if c.URL == "" {
		return &loops.FieldError{Field: "nats.url", Problem: "is missing; name the servers, such as nats://127.0.0.1:4222"}
	}
	return c.options("", nil).Check()
}

func (c *natsConfig) options(version string, log *slog.Logger) cluster.Options {
	return cluster.Options{
		URL: c.URL, CredsFile: c.CredsFile, CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile,
		Replicas: int(c.Replicas), Version: version, Logger: log,
	}
}

// clustered reports whether the loops are on NATS servers that run already.
func (s *settings) clustered() bool { return s.NATS.URL != "" }

// where says where the loops are.
func (s *settings) where() string {
	if s.clustered() {
		return s.NATS.options("", nil).Where()
	}
	return s.data
}

// elsewhere says how to use another store.
func (s *settings) elsewhere() string {
	if s.clustered() {
		return "use an account or servers without loops"
	}
	return "set LOOP_MCP_HOME to another folder"
}
