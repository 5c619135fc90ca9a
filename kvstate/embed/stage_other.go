//go:build !linux

package embed

const shm = ""

// memoryDir returns nothing: no folder is known to be in memory.
func memoryDir() string { return "" }
