package jsonedit

import "bytes"

// Remove returns the file without an entry; ok is false when there is none. The
// file itself is not changed.
func (d *Document) Remove(container, name string) (data []byte, ok bool, err error) {
	f, err := d.find(container, name)
	if err != nil || f.member == nil {
		return nil, false, err
	}
	if !d.madeFor(f) {
		return d.without(f.container, f.index), true, nil
	}
	if len(d.root.members) == 1 && d.bare(d.root) {
		return d.splice(edit{d.root.start, d.root.end, "{}"}), true, nil
	}
	return d.without(d.root, f.holder), true, nil
}

// madeFor reports whether the container is there for the entry alone: it begins
// a line for it, and says nothing else.
func (d *Document) madeFor(f found) bool {
	return len(f.container.members) == 1 && d.beginsLine(f.member.start) && d.bare(f.container)
}

// bare reports whether there are no comments around the one member of an object.
func (d *Document) bare(object *node) bool {
	m := object.members[0]
	around := [][]byte{d.data[object.start+1 : m.start], d.data[m.value.end : object.end-1]}
	for _, text := range around {
		if len(bytes.Trim(text, " \t\r\n,")) > 0 {
			return false
		}
	}
	return true
}

// without takes a member out of an object, with the comma that it needs no more
// and the line that would be left empty.
func (d *Document) without(object *node, index int) []byte {
	m := object.members[index]
	end := m.value.end
	var comma []edit // of the member before, when it becomes the last one
	switch {
	case m.comma >= 0:
		end = m.comma + 1
	case index > 0:
		c := object.members[index-1].comma
		comma = []edit{{c, c + 1, ""}}
	}
	start := m.start
	for start > 0 && (d.data[start-1] == ' ' || d.data[start-1] == '\t') {
		start--
	}
	after := end
	for after < len(d.data) && (d.data[after] == ' ' || d.data[after] == '\t') {
		after++
	}
	switch alone := d.endsLine(after); {
	case d.beginsLine(m.start) && alone: // the whole line, with the line end before it
		start--
		if start > 0 && d.data[start-1] == '\r' {
			start--
		}
	case d.beginsLine(m.start): // something follows on this line
		start, end = m.start, after
	}
	if index == 0 && !d.beginsLine(m.start) { // the space before stays, that behind goes
		start = m.start
		if m.comma >= 0 && !d.endsLine(after) {
			end = after
		}
	}
	// What stands between a value and its comma is a comment, and stays.
	if m.comma >= 0 && len(bytes.TrimSpace(d.data[m.value.end:m.comma])) > 0 {
		return d.splice(edit{m.start, m.value.end, ""}, edit{m.comma, m.comma + 1, ""})
	}
	return d.splice(append(comma, edit{start, end, ""})...)
}

// endsLine reports whether a line ends at this place, spaces left aside.
func (d *Document) endsLine(at int) bool {
	at += len(d.data[at:]) - len(bytes.TrimLeft(d.data[at:], " \t"))
	return bytes.HasPrefix(d.data[at:], []byte("\n")) || bytes.HasPrefix(d.data[at:], []byte("\r\n"))
}
