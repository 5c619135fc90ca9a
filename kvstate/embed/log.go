package embed

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
)

// logger sends the server's log to slog. The server's notices are the daily
// business of a server, so they are debug messages here.
type logger struct {
	out   *slog.Logger
	fatal atomic.Pointer[string] // why the server gave up
	wrong chan struct{}          // has a value when the server has reported an error
	names atomic.Pointer[strings.Replacer]
}

func newLogger(out *slog.Logger) *logger { return &logger{out: out, wrong: make(chan struct{}, 1)} }

// call has the log name a folder by the path that people know.
func (l *logger) call(path, known string) { l.names.Store(strings.NewReplacer(path+"/", known+"/")) }

// known has an error of the system name a folder in the same way.
func (l *logger) known(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		if names := l.names.Load(); names != nil {
			p.Path = names.Replace(p.Path)
		}
	}
	return err
}

func (l *logger) text(format string, args []any) string {
	text := fmt.Sprintf(format, args...)
	if names := l.names.Load(); names != nil {
		return names.Replace(text)
	}
	return text
}

func (l *logger) log(level func(*slog.Logger, string, ...any), format string, args []any) {
	if l.out != nil {
		level(l.out, l.text(format, args), slog.String("from", "nats-server"))
	}
}

func (l *logger) Noticef(format string, args ...any) { l.log((*slog.Logger).Debug, format, args) }
func (l *logger) Debugf(format string, args ...any)  { l.log((*slog.Logger).Debug, format, args) }
func (l *logger) Tracef(format string, args ...any)  { l.log((*slog.Logger).Debug, format, args) }

// Warnf takes what the server says of each store whose host was killed for what
// it is: the index is older than the records, which are all read.
func (l *logger) Warnf(format string, args ...any) {
	level := (*slog.Logger).Warn
	if text := fmt.Sprintf(format, args...); slices.ContainsFunc(afterAKill, func(part string) bool { return strings.Contains(text, part) }) {
		level = (*slog.Logger).Info
	}
	l.log(level, format, args)
}

var afterAKill = []string{"Stream state outdated, last block has additional entries", "Recovering stream state from index errored: prior state file", "TTL state is outdated; attempting to recover"}

// Errorf also has the server's health looked at.
func (l *logger) Errorf(format string, args ...any) {
	select {
	case l.wrong <- struct{}{}:
	default:
	}
	l.log((*slog.Logger).Error, format, args)
}

// Fatalf does not end the program: Start returns the reason.
func (l *logger) Fatalf(format string, args ...any) {
	l.fatal.Store(new(l.text(format, args)))
	l.log((*slog.Logger).Error, format, args)
}
