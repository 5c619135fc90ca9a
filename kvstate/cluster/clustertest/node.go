package clustertest

import (
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/nats-io/nats-server/v2/server"
)

// nodeConfig names the configuration of the server that this process is to be.
const nodeConfig = "LOOP_MCP_TEST_NODE"

// Main makes this process a server when [Start] has begun it as one, and does
// not return then. Call it first in TestMain.
func Main() {
	config := os.Getenv(nodeConfig)
	if config == "" {
		return
	}
	if err := serve(config); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve runs a server until standard input ends, which it does when the test
// ends, in whatever way.
func serve(config string) error {
	opts, err := server.ProcessConfigFile(config)
	if err != nil {
		return err
	}
	opts.NoSigs = true
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	_, err = io.Copy(io.Discard, os.Stdin)
	s.Shutdown()
	s.WaitForShutdown()
	return err
}

// Begin starts server i, which does not run.
func (c *Cluster) Begin(i int) {
	c.tb.Helper()
	self, err := os.Executable()
	if err != nil {
		c.tb.Fatal(err)
	}
	n := c.nodes[i]
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.tb.Fatal(err)
	}
	defer log.Close()         // the process has its own
	cmd := exec.Command(self) //nolint:noctx // killed by the test, else by the end of its standard input
	cmd.Env = append(os.Environ(), nodeConfig+"="+n.config)
	cmd.Stdout, cmd.Stderr = log, log
	alive, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		c.tb.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // how it ended is in its log
	}()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cmd, n.alive, n.ended = cmd, alive, ended
}

// Kill ends server i as kill -9 does and waits for its end.
func (c *Cluster) Kill(i int) {
	c.tb.Helper()
	n := c.nodes[i]
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return
	}
	if err := n.cmd.Process.Kill(); err != nil {
		c.tb.Error(err)
	}
	<-n.ended
	n.cmd = nil
}

// PID is the process of server i.
func (c *Cluster) PID(i int) int {
	n := c.nodes[i]
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd.Process.Pid
}

// Nodes is how many servers there are.
func (c *Cluster) Nodes() int { return len(c.nodes) }

func (c *Cluster) stop() {
	if c.tb.Failed() {
		c.logs()
	}
	for i := range c.nodes {
		c.Kill(i)
	}
}
