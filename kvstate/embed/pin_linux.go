package embed

import (
	"os"
	"strconv"
)

// pin opens a folder and returns a path that means this very folder as long as
// the file is open, whatever gets its name: a server that works by names would
// else write to a folder that has taken the place of its own. Without such a path
// it returns the folder's own.
func pin(dir string) (held *os.File, path string, err error) {
	held, err = os.Open(dir)
	if err != nil {
		return nil, "", err
	}
	path = "/proc/self/fd/" + strconv.FormatUint(uint64(held.Fd()), 10)
	mine, err := held.Stat()
	if err == nil {
		if there, statErr := os.Stat(path); statErr == nil && os.SameFile(mine, there) {
			return held, path, nil
		}
	}
	return nil, dir, held.Close()
}
