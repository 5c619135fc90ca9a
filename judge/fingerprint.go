package judge

import (
	"hash"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"example.com/loop-mcp/loops/command"
)

// witness hashes all of a program's output and keeps the beginning, so that two
// runs can be compared.
type witness struct {
	whole hash.Hash
	head  []byte
	total int64
}

const witnessHead = 256 << 10

func (w *witness) Write(p []byte) (int, error) {
	w.total += int64(len(p))
	w.head = append(w.head, p[:min(len(p), witnessHead-len(w.head))]...)
	return w.whole.Write(p)
}

// stable is the output without what changes from run to run: the first 256 KiB, and
// for longer ones the tail of shown, which holds head and tail.
func (w *witness) stable(shown string) string {
	text := string(w.head)
	if w.total > int64(len(w.head)) {
		text += "\n" + shown[len(shown)-min(len(shown), 32<<10):]
	}
	return normalize(command.Plain(text))
}

// What differs between two runs of the same program on the same files.
var changing = []struct {
	pattern func() *regexp.Regexp
	with    string
}{
	{lazy(`\d{4}[-/]\d{2}[-/]\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?)?\s?(Z|UTC|[+-]\d{2}:?\d{2})?`), "<time>"},
	{lazy(`\b\d{1,2}:\d{2}:\d{2}([.,]\d+)?\b`), "<time>"},
	{lazy(`\(cached\)|\b(\d+([.,]\d+)?(h|m|min|s|ms|us|µs|ns)){1,4}\b|\b\d+([.,]\d+)? (ms|s|secs?|seconds?|mins?|minutes?|milliseconds?)\b`), "<duration>"},
	{lazy(`\b0x[0-9a-fA-F]+\b`), "<address>"},
	{lazy(`(?i)\b(pid|process|goroutine|thread)([ =:#]+)\d+\b`), "${1}${2}<number>"},
	{lazy(`\[\d{3,8}\]:`), "[<number>]:"},
}

// temporary matches the first name below a folder for temporary files. Names
// below that are kept: they are often what an error is about.
var temporary = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(^|[^\w./\\-])(?:` + temporaryFolders() + `)[/\\][^/\\\s:;,'"()\[\]]+`)
})

func temporaryFolders() string {
	folders := []string{`(?:/private)?/var/folders/[^/\s]+/[^/\s]+/T`, `(?:/private)?(?:/var)?/tmp`}
	if own := filepath.Clean(os.TempDir()); own != "/tmp" {
		folders = append([]string{regexp.QuoteMeta(own)}, folders...)
	}
	return strings.Join(folders, "|")
}

func normalize(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	for line := range strings.Lines(text) {
		b.WriteString(normalizeLine(line))
	}
	return b.String()
}

// normalizeLine looks first whether there can be anything: expressions are slow
// beside that, and most lines of a long output hold nothing of it.
func normalizeLine(line string) string {
	if strings.ContainsAny(line, `/\`) {
		line = temporary().ReplaceAllString(line, "${1}<temporary>")
	}
	if !strings.ContainsAny(line, "0123456789") && !strings.Contains(line, "(cached)") {
		return line
	}
	for _, c := range changing {
		line = c.pattern().ReplaceAllString(line, c.with)
	}
	return line
}
