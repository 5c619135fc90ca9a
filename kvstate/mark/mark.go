package mark

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"os"
	"strings"
	"sync"
	"time"
)

// How far the marks on the disk may be behind after a power cut.
const (
	Batch    = 256
	Interval = time.Second
)

// A file is written anew when it takes more than growth times what it would
// take then, and at least minGrowth bytes.
const (
	growth    = 4
	minGrowth = 1 << 20
)

// Options of [Open]. Dir must be set.
type Options struct {
	Dir    string                   // of the files; made with the first mark
	Writer string                   // name of this process for others
	Alive  func(writer string) bool // whether the process with that name may be writing; nil: none but this one
	There  func() error             // why Dir is not the folder any more that was opened: no file of another one is read or made; nil: it always is
	Logger *slog.Logger             // nil: discards
}

// File is the marks of a store and the file of this writer. It is safe for
// concurrent use. A nil *File keeps nothing and knows nothing.
type File struct {
	opts Options

	mu       sync.Mutex
	path     string // of out
	all      marks
	others   map[string]int64 // bytes read of the files of other writers, by name
	found    bool             // marks were there at Open
	damaged  int              // lines so far that do not verify
	out      *os.File         // nil: nothing has been written yet
	size     int64            // of out
	base     int64            // size of out when it was last written anew
	unsynced int              // marks that are not on the disk for certain
	broken   bool             // a write failed: out is to be written anew
	closed   bool
	line     []byte // scratch

	wake chan struct{} // has room for one
	stop chan struct{}
	done sync.WaitGroup
}

// Open reads the marks in a directory, which need not exist. It writes nothing.
// The caller closes the File.
func Open(opts Options) (*File, error) {
	if opts.Alive == nil {
		opts.Alive = func(w string) bool { return w == opts.Writer }
	}
	if opts.There == nil {
		opts.There = func() error { return nil }
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	f := &File{
		opts: opts, all: marks{}, others: map[string]int64{}, wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	if err := f.refresh(); err != nil {
		return nil, fmt.Errorf("read the marks in %s: %w", opts.Dir, err)
	}
	f.found = len(f.all) > 0
	if f.damaged > 0 {
		opts.Logger.Warn("some marks of the store do not verify and are left out: a loss of records that only they would show stays unnoticed",
			slog.Int("lines", f.damaged), slog.String("directory", opts.Dir))
	}
	f.done.Go(f.keepSynced)
	return f, nil
}

// Found reports whether there were marks when the directory was opened.
func (f *File) Found() bool { return f != nil && f.found }

// Of returns the mark of a key, as this and all other writers left it. Gone keys
// have none.
func (f *File) Of(key string) (Mark, bool) {
	if f == nil {
		return Mark{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refresh(); err != nil {
		f.opts.Logger.Warn("the marks of other processes cannot be read", slog.Any("err", err))
	}
	m, ok := f.all[key]
	if !ok || m.Gone(time.Now()) {
		return Mark{}, false
	}
	return m, true
}

// Ended returns the revision of the mark of a key that is gone: what is older and
// still there was brought back by a crash and counts for nothing. 0: the key is
// not gone, or was never there, as far as was known when marks were last read.
func (f *File) Ended(key string) uint64 {
	if f == nil {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.all[key]; m.Gone(time.Now()) {
		return m.Rev
	}
	return 0
}

// All returns the marks of all keys that are not gone.
func (f *File) All() map[string]Mark {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	all := maps.Clone(f.all)
	maps.DeleteFunc(all, func(_ string, m Mark) bool { return m.Gone(now) })
	return all
}

// Note keeps the mark of a key unless a newer one is known. When it cannot be
// written that is logged and tried again, because what it speaks of has happened.
func (f *File) Note(key string, m Mark) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.line = f.line[:0]
	f.note(key, m)
	f.keep()
}

// NoteAll is Note for many keys, with one write.
func (f *File) NoteAll(marks iter.Seq2[string, Mark]) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.line = f.line[:0]
	for key, m := range marks {
		f.note(key, m)
	}
	f.keep()
}

// note adds what is to be written to line. The caller holds mu.
func (f *File) note(key string, m Mark) {
	old := f.all[key]
	if m.Rev < old.Rev || m == old || f.closed || key == "" || strings.ContainsAny(key, " \n") {
		return
	}
	f.all[key] = m
	if f.unsynced++; f.unsynced == 1 {
		f.nudge()
	}
	f.line = appendLine(f.line, key, m)
}

// keep writes line. The caller holds mu.
func (f *File) keep() {
	if f.broken || len(f.line) == 0 {
		return
	}
	err := f.write(f.line)
	if err == nil && f.unsynced >= Batch {
		err = f.sync()
	}
	f.failed(err)
}

// Forget says that the key was removed at a revision, on purpose.
func (f *File) Forget(key string, rev uint64) {
	if _, known := f.Of(key); known {
		f.Note(key, Mark{Rev: rev, Expires: time.Now().Unix()})
	}
}

// Seed keeps the marks of keys that have none or older ones.
func (f *File) Seed(seeds map[string]Mark) {
	if f == nil || len(seeds) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []byte
	for key, m := range seeds {
		f.all.take(key, m)
		lines = appendLine(lines, key, m)
	}
	err := f.write(lines)
	if err == nil {
		err = f.sync()
	}
	f.failed(err)
}

// Close syncs what was noted and closes the file. A second Close does nothing.
func (f *File) Close() error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	was := f.closed
	f.closed = true
	f.mu.Unlock()
	if was {
		return nil
	}
	close(f.stop)
	f.done.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	if f.opts.There() == nil { // else it would be of no use
		err = f.settle()
	}
	if f.out != nil {
		err = errors.Join(err, f.out.Close())
	}
	if err != nil {
		return fmt.Errorf("write the marks in %s: %w", f.opts.Dir, err)
	}
	return nil
}

// nudge wakes keepSynced.
func (f *File) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// keepSynced syncs what was noted, Interval after the first of it.
func (f *File) keepSynced() {
	for {
		select {
		case <-f.stop:
			return
		case <-f.wake:
		}
		timer := time.NewTimer(Interval)
		select {
		case <-f.stop:
			timer.Stop()
			return
		case <-timer.C:
		}
		f.mu.Lock()
		f.failed(f.settle())
		if f.broken {
			f.nudge()
		}
		f.mu.Unlock()
	}
}

// failed notes an error of a write. The caller holds mu.
func (f *File) failed(err error) {
	if err == nil {
		return
	}
	if !f.broken && f.opts.There() == nil { // else whoever works with the store is told
		f.opts.Logger.Warn("the store's marks cannot be written: until they can, a loss of records may stay unnoticed", slog.Any("err", err))
	}
	f.broken = true
}
