package loops

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// keySize is the length of a key in bytes: a hash's worth of randomness.
const keySize = 32

// sharedKey is the record of a key.
type sharedKey struct {
	Key []byte    `json:"key"`
	At  time.Time `json:"at"` // when it was last written
}

// Key returns the key of that name: 32 random bytes that all processes on this
// store share and that outlive them, to sign what a client is to hand back. It
// is made when there is none; one that nobody asks for is gone after [RecordTTL].
// name is as in [CheckKey], with 60 characters at most.
func (e *Engine) Key(ctx context.Context, name string) ([]byte, error) {
	var have sharedKey
	err := e.store.Update(ctx, "key."+name, func(old []byte) ([]byte, error) {
		have = sharedKey{}
		now := time.Now()
		if json.Unmarshal(old, &have) == nil && len(have.Key) == keySize {
			if age := now.Sub(have.At); age >= 0 && age < RecordTTL/4 {
				return nil, errOnlyRead
			}
		} else {
			have.Key = make([]byte, keySize)
			_, _ = rand.Read(have.Key) // never fails: see crypto/rand.Read
		}
		have.At = now.UTC()
		return json.Marshal(have)
	})
	if err != nil && !errors.Is(err, errOnlyRead) {
		return nil, fmt.Errorf("the key %s of this store: %w", name, err)
	}
	return have.Key, nil
}
