package embed

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/minio/highwayhash"
)

// The server keeps what a stream is in two files, one after the other: meta.inf,
// and its checksum in meta.sum. When it was killed between the two, it takes no
// notice of the stream at its next start, whatever is in it, and whoever makes the
// stream again gets what is in it but not the second file: it is gone again at
// the start after that.
const (
	metaFile = "meta.inf"
	sumFile  = "meta.sum"
)

// repair completes what the making of a stream left when it was cut off. The
// lock is held and the server does not run.
func repair(store string) error {
	metas, err := filepath.Glob(filepath.Join(store, "jetstream", "*", "streams", "*", metaFile))
	if err != nil {
		return err
	}
	var problems []error
	for _, meta := range metas {
		if err := repairStream(filepath.Dir(meta)); err != nil {
			problems = append(problems, fmt.Errorf("complete the stream in %s: %w", filepath.Dir(meta), err))
		}
	}
	unmade(store)
	return errors.Join(problems...)
}

// unmade removes what is left of streams that hold nothing and are not even named
// yet: the server warns of each at every start. What holds something stays, and the
// server's warning is the first word about what is lost.
func unmade(store string) {
	streams, _ := filepath.Glob(filepath.Join(store, "jetstream", "*", "streams", "*")) // the pattern is well-formed
	for _, dir := range streams {
		if _, err := os.Lstat(filepath.Join(dir, metaFile)); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		entries, _ := os.ReadDir(dir) // one that can't be read is not empty
		for _, entry := range entries {
			trial, _ := filepath.Match("_test_*", entry.Name()) // of the server, whether it may write
			if entry.IsDir() || trial || entry.Name() == metaFile+".tmp" {
				_ = os.Remove(filepath.Join(dir, entry.Name())) // a folder only when it is empty
			}
		}
		_ = os.Remove(dir) // the same
	}
}

func repairStream(dir string) error {
	sum, err := os.ReadFile(filepath.Join(dir, sumFile))
	if err == nil && len(sum) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil // it is whole, or damaged, which the server says
	}
	meta, err := os.ReadFile(filepath.Join(dir, metaFile))
	if err != nil {
		return err
	}
	if !json.Valid(meta) { // not even the first file came to its end
		return os.Remove(filepath.Join(dir, metaFile))
	}
	key := sha256.Sum256([]byte(filepath.Base(dir)))
	hash, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		return err
	}
	_, _ = hash.Write(meta) // a hash takes everything
	return os.WriteFile(filepath.Join(dir, sumFile), []byte(hex.EncodeToString(hash.Sum(nil))), 0o600)
}
