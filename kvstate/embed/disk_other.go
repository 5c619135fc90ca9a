//go:build !linux && !darwin && !freebsd && !windows

package embed

import (
	"errors"
	"syscall"
)

// spaceOf knows nothing where the system cannot be asked in a common way.
func spaceOf(string) (space, error) { return space{}, nil }

func noRoom(err error) bool   { return errors.Is(err, syscall.ENOSPC) }
func readOnly(err error) bool { return errors.Is(err, syscall.EROFS) }

var errReadOnly = syscall.EROFS
