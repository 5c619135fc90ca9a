//go:build darwin || freebsd

package embed

import "golang.org/x/sys/unix"

// networkFS names the network file system that dir is on; empty: none.
func networkFS(dir string) string {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || uint64(fs.Flags)&uint64(unix.MNT_LOCAL) != 0 {
		return ""
	}
	return unix.ByteSliceToString(nameOf(fs.Fstypename[:]))
}

// nameOf makes bytes of what is signed on some systems.
func nameOf[T int8 | uint8](name []T) []byte {
	text := make([]byte, len(name))
	for i, c := range name {
		text[i] = byte(c)
	}
	return text
}
