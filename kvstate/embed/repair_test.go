package embed

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// TestAStreamWhoseMakingWasCutOffIsThereAtEachStart: the server was killed while
// it made the stream; another one took it over with what came into it since.
func TestAStreamWhoseMakingWasCutOffIsThereAtEachStart(t *testing.T) {
	for name, cut := range map[string]func(t *testing.T, sum string){
		"no checksum":       func(t *testing.T, sum string) { check(t, os.Remove(sum)) },
		"an empty checksum": func(t *testing.T, sum string) { check(t, os.Truncate(sum, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			with := func(do func(js jetstream.JetStream)) {
				h, err := Start(t.Context(), Options{Dir: dir})
				check(t, err)
				js, err := jetstream.New(h.Conn())
				check(t, err)
				do(js)
				check(t, h.Close())
			}
			with(func(js jetstream.JetStream) {
				_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ONE", Subjects: []string{"one"}})
				check(t, err)
				_, err = js.Publish(t.Context(), "one", []byte("kept"))
				check(t, err)
			})
			cut(t, filepath.Join(dir, "store", "jetstream", "$G", "streams", "ONE", sumFile))
			for range 2 {
				with(func(js jetstream.JetStream) {
					st, err := js.Stream(t.Context(), "ONE")
					check(t, err)
					if n := st.CachedInfo().State.Msgs; n != 1 {
						t.Errorf("it has %d messages", n)
					}
				})
			}
		})
	}
}

// TestAStreamThatHoldsNothingIsNotWarnedOf: the server was killed before it had
// written what the stream is. One whose name alone is lost is warned of.
func TestAStreamThatHoldsNothingIsNotWarnedOf(t *testing.T) {
	dir := t.TempDir()
	streams := filepath.Join(dir, "store", "jetstream", "$G", "streams")
	for _, folder := range []string{"BARE", "ONE/msgs", "ONE/obs", "HAS/msgs"} {
		check(t, os.MkdirAll(filepath.Join(streams, folder), 0o700))
	}
	for _, file := range []string{"ONE/_test_1", "ONE/meta.inf.tmp", "HAS/msgs/1.blk"} {
		check(t, os.WriteFile(filepath.Join(streams, file), []byte("{"), 0o600))
	}
	var said bytes.Buffer
	h, err := Start(t.Context(), Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(&said, nil))})
	check(t, err)
	check(t, h.Close())
	if text := said.String(); strings.Contains(text, "BARE") || strings.Contains(text, "ONE") || strings.Count(text, "Missing stream metafile") != 1 {
		t.Errorf("said %s", text)
	}
	_, err = os.Stat(filepath.Join(streams, "HAS", "msgs", "1.blk"))
	check(t, err)
}

// TestAStreamWhoseMakingHadHardlyBegunCanBeMade: what it is was not written to
// its end.
func TestAStreamWhoseMakingHadHardlyBegunCanBeMade(t *testing.T) {
	dir := t.TempDir()
	one := filepath.Join(dir, "store", "jetstream", "$G", "streams", "ONE")
	check(t, os.MkdirAll(one, 0o700))
	check(t, os.WriteFile(filepath.Join(one, metaFile), []byte(`{"name":"ON`), 0o600))
	for range 2 {
		h, err := Start(t.Context(), Options{Dir: dir})
		check(t, err)
		js, err := jetstream.New(h.Conn())
		check(t, err)
		_, err = js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "ONE", Subjects: []string{"one"}})
		check(t, err)
		check(t, h.Close())
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
