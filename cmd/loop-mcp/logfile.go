package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// maxLog is how large a log file becomes before a new one is begun; the one
// before it is kept.
const maxLog = 4 << 20

// logFile is a log of bounded size: a file and the one before it. It is safe
// for concurrent use.
type logFile struct {
	path   string
	max    int64
	opened func(*os.File) error // gets each file that is begun; nil: nobody wants it

	mu   sync.Mutex
	file *os.File
	size int64
}

func openLog(path string, most int64, opened func(*os.File) error) (*logFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	l := &logFile{path: path, max: most, opened: opened}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *logFile) open() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	info, err := file.Stat()
	if err == nil && l.opened != nil {
		err = l.opened(file)
	}
	if err != nil {
		return fmt.Errorf("open the log: %w", errors.Join(err, file.Close()))
	}
	l.file, l.size = file, info.Size()
	return nil
}

// Write implements [io.Writer]: each call is one line.
func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(line)) > l.max {
		l.turn()
	}
	n, err := l.file.Write(line)
	l.size += int64(n)
	return n, err
}

// turn begins a new file. When that can't be done the old one is cut: a log
// must not fill the disk.
func (l *logFile) turn() {
	old := l.file
	if os.Rename(l.path, l.path+".1") == nil && l.open() == nil {
		_ = old.Close() // it is written
		return
	}
	if old.Truncate(0) == nil {
		l.size = 0
	}
}

// Close ends the log.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
