package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// release is set by the linker in released builds.
var release string

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  loop-mcp version\n  loop-mcp version --json",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			version, revision := build()
			if a.json {
				return a.printJSON(map[string]any{"version": version, "revision": revision,
					"go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			_, err := fmt.Fprintln(a.stdout, versionText())
			return err
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

func versionText() string {
	version, revision := build()
	text := "loop-mcp " + version
	if revision != "" {
		text += " (" + clip(revision, 12) + ")"
	}
	return fmt.Sprintf("%s %s %s/%s", text, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// build says what was built: the release, else the module's version.
func build() (version, revision string) {
	version = release
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return orElse(version, "dev"), ""
	}
	if v := info.Main.Version; version == "" && v != "(devel)" {
		version = v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value
		}
	}
	return orElse(version, "dev"), revision
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
