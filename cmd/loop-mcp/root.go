package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

const guide = `loop-mcp works on a goal again and again until it is really met, within hard
limits, and survives crashes.

As an MCP server, it is started by a client:
  loop-mcp setup                 which clients are here
  loop-mcp setup claude-code     put it into one
  loop-mcp doctor                why it does not work

From here:
  loop-mcp run FILE.loop.yaml    work on a loop file to the end
  loop-mcp ls                    what there is
  loop-mcp show ID               one loop
  loop-mcp help                  all commands
`

// newRoot returns the command line.
func newRoot(a *app) *cobra.Command {
	var version bool
	root := &cobra.Command{
		Use:   "loop-mcp",
		Short: "Durable agent loops: an MCP server and a command line",
		Long: "loop-mcp repeats work until a goal is met by evidence, within hard limits.\n" +
			"With a pipe on standard input it is an MCP server; on a terminal it prints a guide.",
		Example: "  loop-mcp run examples/fix-build/fix-build.loop.yaml\n  loop-mcp ls --status running\n  loop-mcp setup claude-code",
		Args:    a.unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if version {
				_, err := fmt.Fprintln(a.stdout, versionText())
				return err
			}
			if isPipe(a.stdin) {
				return a.serve(cmd.Context())
			}
			_, err := fmt.Fprint(a.stdout, guide)
			return err
		},
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w; see %s --help", err, cmd.CommandPath())
	})
	// Not cobra's own: its template would keep the linker from leaving out
	// methods, which makes the program a fifth larger.
	root.Flags().BoolVarP(&version, "version", "v", false, "version for loop-mcp")
	flags := root.PersistentFlags()
	flags.StringVar(&a.configPath, "config", "", "configuration file (default: loop-mcp/config.yaml in the configuration folder)")
	flags.StringVar(&a.logLevel, "log-level", "warn", "how much is logged to stderr: debug, info, warn or error")
	flags.StringVar(&a.logFormat, "log-format", "text", "form of the log: text or json")
	flags.StringVar(&a.natsURL, "nats", "", "use these NATS servers instead of the store in the data folder: URL[,URL...]")
	flags.StringVar(&a.natsCreds, "creds", "", "file with the credentials for the NATS servers")
	complete(root, "log-level", "debug", "info", "warn", "error")
	complete(root, "log-format", "text", "json")
	root.AddCommand(
		a.serveCommand(), a.runCommand(), a.startCommand(), a.lsCommand(), a.showCommand(), a.watchCommand(),
		a.continueCommand(), a.approveCommand(), a.forkCommand(), a.pauseCommand(), a.cancelCommand(),
		a.workerCommand(), a.handlerCommand(), a.verifyCommand(), a.backupCommand(), a.restoreCommand(), a.hostCommand(),
		a.validateCommand(), a.schemaCommand(), a.allowCommand(), a.trustCommand(), a.setupCommand(), a.doctorCommand(), a.judgeEvalCommand(), a.versionCommand(),
	)
	for _, cmd := range root.Commands() {
		cmd.DisableFlagsInUseLine = true
	}
	return root
}

func (a *app) unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "see loop-mcp --help"
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return usagef("there is no command %q; %s", clip(plain(args[0]), 60), hint)
}

// args makes a wrong number of arguments a usage error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%w; usage: %s", err, cmd.UseLine())
		}
		return nil
	}
}

// exclusive makes it a usage error to give a command more than one of some flags.
func exclusive(cmd *cobra.Command, flags ...string) {
	cmd.MarkFlagsMutuallyExclusive(flags...) // for completion; its own error comes too late to be seen
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		var given []string
		for _, name := range flags {
			if cmd.Flags().Changed(name) {
				given = append(given, "--"+name)
			}
		}
		if len(given) > 1 {
			return usagef("%s: %s do not go together: leave out all but one", cmd.Name(), strings.Join(given, " and "))
		}
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
}

// jsonFlag adds --json to a command.
func (a *app) jsonFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.json, "json", false, "print the answer as JSON, errors as one line of JSON on stderr")
}

// complete completes the values of a flag.
func complete(cmd *cobra.Command, flag string, values ...string) {
	// The error says that the flag is unknown; it was defined a line before.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// isPipe reports whether a program, and not a person or nobody, is at the other
// end of standard input.
func isPipe(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice == 0
}

// logger writes to stderr as the flags say.
func (a *app) logger() (*slog.Logger, error) { return a.loggerTo(a.stderr) }

// loggerTo writes to out as the flags say.
func (a *app) loggerTo(out io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
		return nil, usagef("--log-level: must be debug, info, warn or error, got %q", a.logLevel)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch a.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(out, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(out, opts)), nil
	}
	return nil, usagef("--log-format: must be text or json, got %q", a.logFormat)
}

// settings are the configuration and where its files are.
type settings struct {
	config
	env   func(string) string
	dir   string // of the configuration
	data  string // of the store
	named bool   // where the loops are was not left to the configuration folder
	allow allowList
	trust trustStore
}

// settings reads the configuration.
func (a *app) settings() (settings, error) {
	dir, err := configDir(a.env)
	if err != nil {
		return settings{}, err
	}
	data, err := dataDir(a.env)
	if err != nil {
		return settings{}, err
	}
	path, explicit := filepath.Join(dir, "config.yaml"), false
	if a.configPath != "" {
		path, explicit = a.configPath, true
	}
	c, err := loadConfig(path, explicit, a.env)
	if err == nil {
		err = c.NATS.override(a.natsURL, a.natsCreds)
	}
	if err != nil {
		return settings{}, err
	}
	named := a.configPath != "" || a.natsURL != "" || a.natsCreds != "" || a.env(variable("nats_url")) != ""
	return settings{config: c, env: a.env, dir: dir, data: data, named: named,
		allow: allowList{path: filepath.Join(dir, "allow")},
		trust: trustStore{path: filepath.Join(dir, "trust.json"), own: filepath.Join(dir, "loops")}}, nil
}

// library looks loop files up by name.
func (s settings) library() library {
	return library{dirs: append([]string{s.trust.own}, s.LoopDirs...), trust: s.trust}
}
