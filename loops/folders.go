package loops

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func absolute(dir string) (string, error) {
	if dir == "" {
		wd, err := os.Getwd()
		if err != nil {
			return "", fmt.Errorf("the working folder of this process: %w", err)
		}
		return wd, nil
	}
	if !filepath.IsAbs(dir) {
		return "", &FieldError{Field: "dir", Problem: fmt.Sprintf("must be an absolute folder, got %q", dir)}
	}
	return filepath.Clean(dir), nil
}

// workDir is the folder that protected patterns refer to.
func (o Origin) workDir() string {
	if dir := o.Spec.Body.Cwd; filepath.IsAbs(dir) && !strings.Contains(dir, "{{") {
		return dir
	}
	return o.Dir
}

// inDir makes the working folders absolute, except those that only a start can
// tell because they hold a template.
func (s Spec) inDir(dir string) Spec {
	if s.Body.Kind == BodyCommand {
		s.Body.Cwd = inFolder(dir, s.Body.Cwd)
	}
	if s.Until != nil {
		u := *s.Until
		u.Any, u.All = conditionsIn(u.Any, dir, s.Body.Cwd), conditionsIn(u.All, dir, s.Body.Cwd)
		s.Until = &u
	}
	return s
}

func conditionsIn(list []Condition, dir, fallback string) []Condition {
	out := make([]Condition, len(list))
	for i, c := range list {
		if c.Kind == StopCommand || c.Kind == StopJudge {
			if c.Cwd == "" {
				c.Cwd = fallback
			}
			c.Cwd = inFolder(dir, c.Cwd)
		}
		if c.Not != nil {
			not := conditionsIn([]Condition{*c.Not}, dir, fallback)[0]
			c.Not = &not
		}
		if len(c.Any) > 0 {
			c.Any = conditionsIn(c.Any, dir, fallback)
		}
		if len(c.All) > 0 {
			c.All = conditionsIn(c.All, dir, fallback)
		}
		out[i] = c
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// inFolder joins a folder to dir unless it is absolute or starts with a template.
func inFolder(dir, path string) string {
	if path == "" {
		return dir
	}
	if filepath.IsAbs(path) || strings.HasPrefix(path, "{{") {
		return path
	}
	return filepath.Join(dir, path)
}
