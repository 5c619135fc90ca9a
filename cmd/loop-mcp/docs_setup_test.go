package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/loop-mcp/cmd/loop-mcp/internal/clients"
)

// clientFiles is the table of what setup writes to on each system.
func clientFiles(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| client | key | its own command | file |\n| --- | --- | --- | --- |\n")
	for _, c := range clients.All() {
		path := func(goos string) string {
			m := &clients.Machine{GOOS: goos, Glob: filepath.Glob, Env: func(name string) string {
				return map[string]string{"HOME": "~", "USERPROFILE": "%USERPROFILE%", "APPDATA": "%APPDATA%", "LOCALAPPDATA": "%LOCALAPPDATA%"}[name]
			}}
			path, err := c.File(m, clients.User)
			if err != nil {
				t.Fatal(err)
			}
			return path
		}
		files := []string{fmt.Sprintf("Linux `%s`", path("linux")), fmt.Sprintf("macOS `%s`", path("darwin")), fmt.Sprintf("Windows `%s`", path("windows"))}
		if path("linux") == path("darwin") {
			files = slices.Replace(files, 0, 2, fmt.Sprintf("Linux and macOS `%s`", path("linux")))
		}
		if c.HasProject() {
			project, err := c.File(&clients.Machine{GOOS: "linux"}, clients.Project)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, fmt.Sprintf("project `%s`", project))
		}
		own := "–"
		if c.Command() != "" {
			own = "`" + c.Command() + "`"
		}
		fmt.Fprintf(&b, "| %s: `%s` | `%s` | %s | %s |\n", c.Title, c.ID, c.Key(), own, strings.Join(files, ", "))
	}
	return b.String()
}
