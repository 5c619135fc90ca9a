package loops

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// Protected files. A pattern is a glob over slash-separated paths below the
// loop's folder: * ? and [ ] within one name, ** for any number of folders. A
// pattern that ends in a plain name or a slash also covers all that is below a
// folder of that name, so that "testdata" protects what people think it does.

// maxProtectEntries bounds how many files and folders are looked at.
const maxProtectEntries = 100_000

// checkPattern says why a pattern can't be used.
func checkPattern(pattern string) error {
	switch {
	case strings.TrimSpace(pattern) == "":
		return errors.New("must be a pattern of files, got an empty text")
	case strings.HasPrefix(pattern, "/"), strings.HasPrefix(pattern, "~"), len(pattern) > 1 && pattern[1] == ':':
		return fmt.Errorf("must be relative to the loop's folder, got %q", shown(pattern))
	case slices.Contains(strings.Split(pattern, "/"), ".."):
		return fmt.Errorf(`must stay below the loop's folder, without "..", got %q`, shown(pattern))
	}
	for _, segment := range patternSegments(pattern) {
		if _, err := path.Match(segment, ""); err != nil {
			return fmt.Errorf("is not a pattern: [ without ] or a \\ at the end in %q", shown(pattern))
		}
	}
	if len(patternSegments(pattern)) == 0 {
		return fmt.Errorf("must name files, got %q", shown(pattern))
	}
	return nil
}

// patternSegments splits a pattern. Empty segments and "." mean nothing; a
// repeated ** is one; what covers a whole folder ends in **.
func patternSegments(pattern string) []string {
	var segments []string
	for segment := range strings.SplitSeq(pattern, "/") {
		again := segment == "**" && len(segments) > 0 && segments[len(segments)-1] == "**"
		if segment != "" && segment != "." && !again {
			segments = append(segments, segment)
		}
	}
	if len(segments) == 0 {
		return nil
	}
	last := segments[len(segments)-1]
	if last != "**" && (strings.HasSuffix(pattern, "/") || !strings.ContainsAny(last, `*?[\`)) {
		segments = append(segments, "**")
	}
	return segments
}

// matchSegments reports whether a path matches a pattern. A trailing ** matches
// the folder itself too. Bounded by the product of both lengths.
func matchSegments(pattern, name []string) bool {
	return slices.Contains(reachable(pattern, name), len(pattern))
}

// mayHold reports whether something below folder could match the pattern.
func mayHold(pattern, folder []string) bool {
	return slices.ContainsFunc(reachable(pattern, folder), func(at int) bool { return at < len(pattern) })
}

// reachable returns how far into the pattern a match of all of name can be.
func reachable(pattern, name []string) []int {
	at := skipStars(pattern, []int{0})
	for _, segment := range name {
		var next []int
		for _, i := range at {
			if i == len(pattern) {
				continue
			}
			if pattern[i] == "**" {
				next = append(next, i)
			} else if ok, _ := path.Match(pattern[i], segment); ok {
				next = append(next, i+1)
			}
		}
		at = skipStars(pattern, next)
	}
	return at
}

// skipStars adds the places behind a **, which may match nothing.
func skipStars(pattern []string, at []int) []int {
	for i := 0; i < len(at); i++ {
		if p := at[i]; p < len(pattern) && pattern[p] == "**" {
			at = append(at, p+1)
		}
	}
	slices.Sort(at)
	return slices.Compact(at)
}

// protectedFiles returns the files below dir that match one of patterns, with
// the SHA-256 of what they hold. A symbolic link counts as its target's text
// and is not followed; what is neither file nor link counts as its type. .git
// and folders that can't be read are not entered: when they become readable,
// their files are new ones.
func protectedFiles(dir string, patterns []string) (map[string]string, error) {
	if len(patterns) == 0 {
		return map[string]string{}, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("protect: open the loop's folder: %w", err)
	}
	defer func() { _ = root.Close() }() // only read from
	w := newProtectWalk(root, patterns)
	if err := w.run(); err != nil {
		return nil, fmt.Errorf("protect: %s: %w", dir, err)
	}
	return w.found, nil
}

type protectWalk struct {
	root     *os.Root
	patterns [][]string
	found    map[string]string
	visited  int
}

func newProtectWalk(root *os.Root, patterns []string) *protectWalk {
	w := &protectWalk{root: root, found: map[string]string{}}
	for _, p := range patterns {
		w.patterns = append(w.patterns, patternSegments(p))
	}
	return w
}

func (w *protectWalk) run() error { return fs.WalkDir(w.root.FS(), ".", w.visit) }

func (w *protectWalk) visit(name string, entry fs.DirEntry, err error) error {
	if name == "." {
		return err
	}
	if w.visited++; w.visited > maxProtectEntries {
		return fmt.Errorf("more than %d files and folders to look at; write narrower patterns, such as src/**/*_test.go", maxProtectEntries)
	}
	segments := strings.Split(name, "/")
	if entry.IsDir() {
		wanted := slices.ContainsFunc(w.patterns, func(p []string) bool { return mayHold(p, segments) })
		if err != nil || entry.Name() == ".git" || !wanted {
			return fs.SkipDir
		}
		return nil
	}
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(w.patterns, func(p []string) bool { return matchSegments(p, segments) }) {
		return nil
	}
	sum, err := w.hash(name, entry)
	if errors.Is(err, fs.ErrNotExist) { // gone since the folder was read
		return nil
	}
	w.found[name] = sum
	return err
}

func (w *protectWalk) hash(name string, entry fs.DirEntry) (string, error) {
	h := sha256.New()
	switch kind := entry.Type(); {
	case kind&fs.ModeSymlink != 0:
		target, err := w.root.Readlink(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "link to %s", target)
	case !kind.IsRegular():
		fmt.Fprintf(h, "special %s", kind)
	default:
		f, err := w.root.Open(name)
		if err != nil {
			return "", err
		}
		defer f.Close()
		if _, err := io.Copy(h, f); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// changedFiles compares two results of protectedFiles and names each file that
// is not as it was: "a_test.go (changed)", "(deleted)" or "(new)". Sorted.
func changedFiles(before, after map[string]string) []string {
	all := maps.Clone(before)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, after)
	var changes []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		old, was := before[name]
		now, is := after[name]
		switch {
		case !is:
			changes = append(changes, name+" (deleted)")
		case !was:
			changes = append(changes, name+" (new)")
		case old != now:
			changes = append(changes, name+" (changed)")
		}
	}
	return changes
}
