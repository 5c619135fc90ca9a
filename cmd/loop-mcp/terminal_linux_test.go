package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal returns both ends of a terminal: the person's and the program's.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return person, program
}

// TestAPersonSeesWhatTheyApprove: the output comes before the question about it.
func TestAPersonSeesWhatTheyApprove(t *testing.T) {
	b := newBox(t)
	person, program := terminal(t)
	cmd := b.command("run", b.loop("human", "count", "until: {all: [{kind: human, question: Good?}]}"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = program.Close()
	var screen strings.Builder
	part := make([]byte, 4096)
	for answered := false; ; {
		n, err := person.Read(part)
		if err != nil { // the program has ended
			break
		}
		screen.Write(part[:n])
		if !answered && strings.Contains(screen.String(), "Approve?") {
			answered = true
			if _, err := person.WriteString("y\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, screen.String())
	}
	before, _, _ := strings.Cut(screen.String(), "Approve?")
	if !strings.Contains(before, "\r\npass 1\r\n") || !strings.Contains(before, "Good?") {
		t.Errorf("the person was asked without the output: %q", before)
	}
}

// TestAPersonSeesWhatTheBodySays: live text is below the meters while the body
// runs, and can't steer the terminal.
func TestAPersonSeesWhatTheBodySays(t *testing.T) {
	b := newBox(t)
	person, program := terminal(t)
	cmd := b.command("run", b.loop("talk", "talk", "until: {all: [{kind: claim}]}"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = program.Close()
	var screen strings.Builder
	part := make([]byte, 4096)
	for seen := false; ; {
		n, err := person.Read(part)
		if err != nil { // the program has ended
			break
		}
		screen.Write(part[:n])
		if !seen && strings.Contains(screen.String(), "世界") {
			seen = true
			b.write("go-on", "")
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, screen.String())
	}
	text := screen.String()
	if _, after, _ := strings.Cut(text, "starts 1/50"); !strings.Contains(after, "reading main.go") {
		t.Errorf("what the body says is not below the meters: %q", text)
	}
	if strings.Contains(text, "\x1b]") || strings.Contains(text, "\x07") || strings.Contains(text, "\x1b[2J") {
		t.Errorf("what the body says steers the terminal: %q", text)
	}
}
