package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"time"

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

// below are the variables by which a loop-mcp that a body starts finds the loop
// that it works for: else it would begin one in another store, outside of all
// limits. A password is not among them.
func (s settings) below() map[string]string {
	env := map[string]string{}
	if s.env("LOOP_MCP_HOME") != "" {
		env["LOOP_MCP_HOME"] = s.data // a body's folder is another one
	}
	if !s.clustered() || !s.named {
		return env
	}
	env[variable("nats_url")] = s.where()
	for name, file := range map[string]string{"nats_creds_file": s.NATS.CredsFile, "nats_ca_file": s.NATS.CAFile, "nats_cert_file": s.NATS.CertFile, "nats_key_file": s.NATS.KeyFile} {
		if path, err := filepath.Abs(file); err == nil && file != "" {
			env[variable(name)] = path
		}
	}
	if s.NATS.Replicas > 0 {
		env[variable("nats_replicas")] = strconv.Itoa(int(s.NATS.Replicas))
	}
	return env
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

// printWorkers shows who works on the loops of NATS servers.
func (a *app) printWorkers(ctx context.Context, s settings) error {
	log, err := a.logger()
	if err != nil {
		return err
	}
	version, _ := build()
	m, err := cluster.Connect(ctx, s.NATS.options(version, log))
	if err != nil {
		return err
	}
	workers, err := m.Workers(ctx)
	server := m.Conn().ConnectedServerName()
	if err = errors.Join(err, m.Close()); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(workersJSON(s.where(), server, workers))
	}
	fmt.Fprintf(a.stdout, "The loops are on %s; server %s answers.\n", s.where(), plain(server))
	if len(workers) == 0 {
		fmt.Fprintln(a.stdout, "No worker has a lease: nobody works on them.")
	}
	for _, w := range workers {
		fmt.Fprintf(a.stdout, "worker %s: process %d on %s, %s, version %s, since %s, last sign %s ago\n", plain(w.Name), w.PID, plain(w.Host),
			orElse(roleTexts[w.Role], "unknown"), plain(orElse(w.Version, "unknown")), w.Since.Local().Format(time.DateTime), w.Silent.Round(100*time.Millisecond))
	}
	return nil
}

func workersJSON(where, server string, workers []cluster.Worker) map[string]any {
	list := []map[string]any{}
	for _, w := range workers {
		list = append(list, map[string]any{"name": w.Name, "host": w.Host, "pid": w.PID, "role": w.Role, "version": w.Version,
			"since": w.Since.Format(time.RFC3339), "last_sign_seconds_ago": w.Silent.Seconds()})
	}
	return map[string]any{"servers": where, "answers": server, "workers": list}
}
