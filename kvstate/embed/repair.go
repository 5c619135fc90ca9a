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
	return errors.Join(problems...)
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
