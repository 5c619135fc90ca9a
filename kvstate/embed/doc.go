// Package embed runs the NATS server that keeps the loops inside the program,
// and shares it with other processes on the machine.
//
// nats-server takes no lock on its directory, and two servers on one silently
// lose what they acknowledged. So an exclusive lock of the operating system on
// the file LOCK, which goes with the process however it ends, comes first, and
// only then the store is opened.
//
// # Who hosts
//
// [Join] takes part with whatever other processes there are. Each has one
// connection with a dialer of its own, which tries the lock: with it the process
// becomes the host, embeds the server and connects inside; without it it dials
// the host. When the host goes, every connection breaks, every dialer tries the
// lock, one gets it, and the connections go on with their subscriptions. Nothing
// is elected and nobody watches anybody: the lock is the election. A request that
// was under way fails or stays unanswered, and whoever sent it finds out what
// became of it. A host that closes ends its server before it lets go of the lock;
// one that can't start its server lets go, too, and says why.
//
// [Start] is for one process alone.
//
// # How the host is reached
//
// The server listens nowhere. The host hands on connections from a Unix socket
// (0600, in a folder of 0700; in a folder of its own for temporary files when the
// path of the store is longer than a socket's may be), on Windows from a port of
// 127.0.0.1 with a new token of 192 bits. endpoint.json (0600, written by rename)
// says which process hosts, its version and [Protocol], and how it is reached. It
// informs and decides nothing: the lock does.
//
// A host that is stopped keeps the lock. Nobody takes over, which is what keeps
// the store whole; [Member.Trouble] says which process it is.
//
// # When the folder is another one
//
// Each process compares the lock and the server's own folder with what they were,
// twice a second and before each write, in a rush of writes a few times a
// millisecond ([Member.There]). On Linux the server works
// at /proc/self/fd/N, which means the folder that was opened, whatever has its name:
// it can neither read nor change what has taken its place. Elsewhere it has up to a
// second in which it may. Its end then writes an index that the other server finds
// to be none of its own. A folder that is away ends its server, and all wait a
// minute for it; then, or when another one is there, [Member.Replaced] closes.
//
// # Handing over
//
// A request on the subject loop.host.stepdown asks the host to let another process
// host: [StepDown] from the command line, [Join] from a newer release. All members
// hear it. The host answers, ends its server and lets go of the lock, and it and
// the members older than who asked leave the lock alone for two seconds or until
// somebody hosts. Only a strictly newer release asks, each host once, and the host
// compares again: two processes never take the store from each other, and builds
// that are no release take part in none of that.
//
// The request and endpoint.json are the same in every [Protocol]. So a program of a
// newer protocol displaces an older host, too; the older programs find the newer
// one in endpoint.json, end their connection for good ([Member.Replaced]) and never
// open that store again.
//
// # Who lives
//
// Each process keeps a lock on a file runners/NAME.lock. By [Member.Alive] others
// find out whether the process that claimed a loop is gone. NAME.json beside it
// says what it is ([Peers]).
//
// # What is written
//
// With durability "power" every acknowledged write has been synced to the disk;
// with "process" it has been handed to the operating system, which survives the
// end of the process but not of the machine. The host's setting counts.
//
// A batch of messages is written twice by the server; where the first copy goes,
// [Host.Stage] puts a folder in memory, on systems that have one.
//
// A full or failing disk makes the server stop writing until it is started
// anew. Its health is polled, told to Options.OnHealth, and the server is
// restarted when there is room again; connections and what uses them go on.
//
// Who only looks (Options.Looks) gets in on a full disk as well. What can't be
// written then is who it is: it has no file below runners, which only claims need,
// and if it hosts, no endpoint.json until there is room. Others that come meanwhile
// find the lock taken by nobody who says so; it is a reader and soon gone.
package embed
