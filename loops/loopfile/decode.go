package loopfile

import (
	"errors"

	"example.com/loop-mcp/loops"
)

// DecodeYAML reads YAML into the struct that into points to, as strictly as a
// loop file is read and with lines in the errors. It is meant for a program's
// own configuration. expand, when not nil, replaces each text value before it is
// decoded. A file without any value leaves into as it is.
func DecodeYAML(data []byte, into any, expand func(string) (string, error)) error {
	text, err := clean(data)
	if errors.Is(err, errEmpty) {
		return nil
	}
	if err != nil {
		return err
	}
	tree, err := parseYAML(text)
	if errors.Is(err, errEmpty) {
		return nil
	}
	if err != nil {
		return err
	}
	if expand != nil {
		if err := tree.eachText(expand); err != nil {
			return err
		}
	}
	err = loops.Decode(tree.appendJSON(nil), into)
	if found := loops.FieldErrors(err); len(found) > 0 {
		return locate(tree, found)
	}
	return err
}
