// Package jsonedit changes one entry of a JSON file that people and other
// programs own.
//
// A client's configuration has comments, trailing commas, an order and an
// indentation that its owner chose. So nothing is decoded and written anew: the
// file is read for the places where things stand, and an edit inserts or takes
// away the bytes of one entry. Every other byte stays, and the new bytes follow
// the line endings and the indentation of the file.
//
// An entry is named by two keys: that of the object at the top that holds
// entries, such as mcpServers, and its own. [Document.Remove] undoes
// [Document.Set] to the byte. An object that Set had to make for the entry goes
// with it: it is one that begins a line for its only entry. One that was there
// and empty is kept on its line and stays. An empty object that was spread over
// lines can't be told from one that Set made: it goes, or is drawn together.
package jsonedit
