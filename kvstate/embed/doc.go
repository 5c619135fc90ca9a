// Package embed runs the NATS server that keeps the loops inside the program,
// on a directory that no other process uses at the same time.
//
// nats-server takes no lock on its directory, and two servers on one silently
// lose what they acknowledged. So [Start] first takes an exclusive lock of the
// operating system on the file LOCK, which goes with the process however it
// ends, and only then opens the store. holder.json beside it tells others who
// has it; it informs and decides nothing.
//
// The server listens nowhere: it is reached through connections inside the
// process. With durability "power" every acknowledged write has been synced to
// the disk; with "process" it has been handed to the operating system, which
// survives the end of the process but not of the machine.
//
// A full or failing disk makes the server stop writing until it is started
// anew. Its health is polled, told to Options.OnHealth, and the server is
// restarted when there is room again; connections and what uses them go on.
package embed
