// Files is a small MCP server on standard input and output: it lists, reads and
// writes text files below one folder. The examples use it as the tools of an
// agent; any other MCP server takes its place.
//
//	go run ./examples/files FOLDER
package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// maxFile bounds what is read and written, in bytes.
const maxFile = 1 << 20

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: files FOLDER")
	}
	root, err := os.OpenRoot(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	if err := server.ServeStdio(tools(root)); err != nil {
		log.Fatal(err)
	}
}

// tools serves the files below root. Paths that leave it are refused.
func tools(root *os.Root) *server.MCPServer {
	s := server.NewMCPServer("files", "1", server.WithToolCapabilities(false))
	path := mcp.WithString("path", mcp.Required(), mcp.Description("File, relative to the folder"))
	add := func(name, text string, readOnly bool, run func(mcp.CallToolRequest) (string, error), more ...mcp.ToolOption) {
		options := append([]mcp.ToolOption{mcp.WithDescription(text), mcp.WithReadOnlyHintAnnotation(readOnly),
			mcp.WithIdempotentHintAnnotation(true), mcp.WithDestructiveHintAnnotation(!readOnly), mcp.WithOpenWorldHintAnnotation(false)}, more...)
		s.AddTool(mcp.NewTool(name, options...), func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			text, err := run(r)
			if err != nil {
				return mcp.NewToolResultError(err.Error()), nil
			}
			return mcp.NewToolResultText(text), nil
		})
	}
	add("list", "Lists the files of the folder, one path a line.", true, func(mcp.CallToolRequest) (string, error) { return list(root) })
	add("read", "Reads a text file.", true, func(r mcp.CallToolRequest) (string, error) { return read(root, r.GetString("path", "")) }, path)
	add("write", "Writes a text file. What was there before is gone.", false, func(r mcp.CallToolRequest) (string, error) {
		return write(root, r.GetString("path", ""), r.GetString("text", ""))
	}, path, mcp.WithString("text", mcp.Required(), mcp.Description("The whole new content")))
	return s
}

func list(root *os.Root) (string, error) {
	var paths []string
	err := fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "." {
			return fs.SkipDir
		}
		if err == nil && d.Type().IsRegular() {
			paths = append(paths, path)
		}
		return err
	})
	return strings.Join(paths, "\n"), err
}

func read(root *os.Root, path string) (string, error) {
	file, err := root.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if len(text) > maxFile {
		return "", fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return string(text), err
}

func write(root *os.Root, path, text string) (string, error) {
	if len(text) > maxFile {
		return "", fmt.Errorf("the text has %d bytes, at most %d are allowed", len(text), maxFile)
	}
	if err := root.WriteFile(path, []byte(text), 0o644); err != nil {
		return "", err
	}
	return fmt.Sprintf("wrote %d bytes to %s", len(text), path), nil
}
