// Package tomledit changes one table of a TOML file that people and other
// programs own.
//
// Like package jsonedit it reads a file for the places where things stand and
// inserts or takes away the lines of one entry: comments, order and line ends
// stay to the byte, and [Document.Remove] undoes [Document.Set]. An entry is the
// table [container.name] with the tables below it. One that is written in
// another way, inline or with dotted keys, is read and never changed: an error
// says so, and its line.
//
// Why no library: those that decode and encode lose comments, and the one thing
// needed besides is where a statement begins and ends. The reader knows all of
// TOML 1.0; of what statements mean together it checks that no key is given
// twice.
package tomledit
