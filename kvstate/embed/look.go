package embed

import (
	"bufio"
	"strings"
	"time"
)

// Hosting is what is known about the process that hosts a store.
type Hosting struct {
	PID        int
	Started    time.Time
	Version    string
	Protocol   int
	Durability string
	Command    string
	Shared     bool // with other processes
	Answers    bool // now; false for one that is stopped or not ready yet
}

// Look returns who hosts the store in a directory; ok is false when nobody says
// so. It takes no part and changes nothing.
func Look(dir string) (h Hosting, ok bool) {
	e, ok := readEndpoint(dir)
	if !ok || !lives(e.PID) {
		return Hosting{}, false
	}
	h = Hosting{PID: e.PID, Started: e.Started, Version: e.Version, Protocol: e.Protocol, Durability: e.Durability, Command: e.Command, Shared: !e.Alone}
	if e.Address == "" {
		return h, true
	}
	conn, err := dialHost(e)
	if err != nil { // nobody listens there: the process with that number is another one
		return Hosting{}, false
	}
	defer hangUp(conn)
	if conn.SetReadDeadline(time.Now().Add(dialTimeout)) == nil {
		line, _ := bufio.NewReader(conn).ReadString('\n') // what a server says first
		h.Answers = strings.HasPrefix(line, "INFO ")
	}
	return h, true
}
