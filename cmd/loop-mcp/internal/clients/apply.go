package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"
)

// Apply carries a change out. When it fails, the file is as it was before,
// unless the error says otherwise.
func (m *Machine) Apply(ctx context.Context, c *Change) error {
	if c.Action == Nothing {
		return nil
	}
	err := m.apply(ctx, c)
	if err != nil && c.Backup != "" && c.was.same() == nil { // a copy of nothing that was lost
		err = errors.Join(err, os.Remove(c.Backup))
		c.Backup = ""
	}
	return err
}

func (m *Machine) apply(ctx context.Context, c *Change) error {
	o := Options{Remove: c.Action == Remove}
	if err := c.was.same(); err != nil {
		return c.byHand(o, err)
	}
	var err error
	if c.Backup, err = c.was.backup(m.Now()); err != nil {
		return c.byHand(o, err)
	}
	if len(c.Argv) == 0 {
		if err := c.was.replace(c.after); err != nil {
			return c.byHand(o, err)
		}
		return nil
	}
	for i, argv := range c.Argv {
		said, err := m.Run(ctx, m.Dir, argv)
		c.Said = plain(said)
		if err != nil {
			err = fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, c.Said)
			if i > 0 { // its own command took the old entry out before
				err = errors.Join(err, c.restore())
			}
			return c.byHand(o, err)
		}
	}
	return c.see(o)
}

// see reads what the client's own command has written.
func (c *Change) see(o Options) error {
	now, err := readFile(c.File)
	if err == nil {
		err = c.check(now.data)
	}
	if err != nil {
		return c.byHand(o, fmt.Errorf("%s ended well, but in %s %w", strings.Join(c.Argv[len(c.Argv)-1], " "), c.File, err))
	}
	c.Diff = Diff(c.was.data, now.data)
	return nil
}

// restore puts the file back as it was.
func (c *Change) restore() error {
	now, err := readFile(c.File)
	if err != nil || bytes.Equal(now.data, c.was.data) {
		return err
	}
	if now.info == nil {
		now.info = c.was.info
	}
	if err := now.replace(c.was.data); err != nil {
		return fmt.Errorf("the old entry is gone, its copy is %s: %w", c.Backup, err)
	}
	return nil
}

// plain is the end of what a program said, without what steers terminals.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		if r != '\n' && unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.TrimSpace(text))
	lines := strings.Split(text, "\n")
	if len(lines) > 12 {
		lines = lines[len(lines)-12:]
	}
	return strings.Join(lines, "\n")
}
