// Package loopfile reads loop files: a [loops.Spec] written as YAML, JSON or
// Markdown with front matter.
//
// Every file becomes a tree of values with positions, the tree becomes JSON,
// and the JSON goes through [loops.DecodeSpec], the same strict decoder that a
// spec from a tool call goes through. So a file and a tool call never differ in
// what they accept, and this package adds one thing: the line and the column of
// each [loops.FieldError].
//
//	bytes ─► size, UTF-8, BOM, line ends ─► YAML | JSON | front matter + text
//	      ─► tree (positions) ─► JSON ─► loops.DecodeSpec, Spec.Validate
//	      ─► Spec, or errors with lines
//
// YAML is read narrowly. Text that looks like a number in some YAML dialects
// (400k, 10m, 1s) stays text; yes, on and off stay text and are refused where
// true or false is wanted; duplicate keys, tags, merge keys and a second
// document are refused. Anchors and aliases work, but a file never grows beyond
// [maxNodes] values, and one with more than [maxTokens] tokens is refused before
// the parser, whose time grows with the square of that number, sees it.
//
// [Schema] is the published JSON Schema of the same shape, for editors.
package loopfile
