package stdio

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata")

// TestTranscripts plays the "> " lines of each file in testdata to a server, and expects its "< "
// lines after each. Lines beginning with # and blank lines are comments.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.transcript")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".transcript"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := string(data)
			synctest.Test(t, func(t *testing.T) { data = []byte(play(t, want)) })
			if *update {
				if err := os.WriteFile(file, data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(want, string(data)); diff != "" && !*update {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
}

// play returns the transcript with the answers it got.
func play(t *testing.T, transcript string) string {
	p := startPeer(t, newServer(), nil)
	var b strings.Builder
	for line := range strings.Lines(transcript) {
		if strings.HasPrefix(line, "< ") {
			continue
		}
		b.WriteString(line)
		if say, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "> "); ok {
			for _, answer := range p.send(say) {
				b.WriteString("< " + answer + "\n")
			}
		}
	}
	p.endWell()
	return b.String()
}
