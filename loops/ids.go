package loops

import (
	"crypto/rand"
	"fmt"
	"strings"
)

// idAlphabet is base32 in lower case: no two characters are easily mixed up.
const idAlphabet = "abcdefghijklmnopqrstuvwxyz234567"

// secretSize is how many random characters make an id a secret: 130 bits.
const secretSize = 26

func newID(name string) ID { return randomID(name, 4) }

func randomID(name string, size int) ID {
	random := make([]byte, size)
	_, _ = rand.Read(random) // never fails: see crypto/rand.Read
	for i, b := range random {
		random[i] = idAlphabet[b%32]
	}
	return ID(name + "-" + string(random))
}

// Secret reports whether nobody can guess the id: see [StartRequest].SecretID.
func (id ID) Secret() bool {
	i := strings.LastIndexByte(string(id), '-')
	return i > 0 && len(id)-i-1 == secretSize && strings.Trim(string(id[i+1:]), idAlphabet) == ""
}

func invalidID(id ID) error {
	return &FieldError{Field: "loop_id", Problem: fmt.Sprintf("%q is not a loop id such as fix-build-7k3q", clip(string(id), 80))}
}

// ValidID reports whether id has the shape of a loop id.
func ValidID(id ID) bool {
	if len(id) < 4 || len(id) > 96 {
		return false
	}
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return id[0] != '-'
}
