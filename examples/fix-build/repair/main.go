// Command repair stands in for a coding agent, so that the example needs no
// model: it reads which tests fail, repairs the cause of one of them in the
// working copy and says what it did.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// fix is what this worker knows about the failure of one test.
type fix struct {
	test, file, wrong, right, why string
}

var fixes = []fix{
	{"TestParse", "money.go", `strings.Repeat("0", 2-len(part)) + part`, `part + strings.Repeat("0", 2-len(part))`,
		"12.5 is 12.50: digits are missing at the end, not at the beginning"},
	{"TestString", "money.go", `return fmt.Sprintf("%d.%02d", c/100, c%100)`,
		"sign := \"\"\n\tif c < 0 {\n\t\tsign, c = \"-\", -c\n\t}\n\treturn fmt.Sprintf(\"%s%d.%02d\", sign, c/100, c%100)",
		"the sign of an amount below one was lost"},
	{"TestDiscount", "discount.go", "total > discountFrom", "total >= discountFrom", "the discount begins at 100.00, not above it"},
	{"TestTax", "tax.go", "amount * Cents(percent) / 100", "(amount*Cents(percent) + 50) / 100", "tax is rounded half up, not down"},
	{"TestDue", "due.go", "due = due.AddDate(0, 0, 2)\n\t}", "due = due.AddDate(0, 0, 2)\n\t} else if due.Weekday() == time.Sunday {\n\t\tdue = due.AddDate(0, 0, 1)\n\t}",
		"a Sunday moves to Monday too"},
}

func main() {
	iteration := flag.Int("iteration", 1, "the first one begins with a fresh copy")
	from := flag.String("from", "project", "the package to repair")
	to := flag.String("to", "work/copy", "the working copy")
	flag.Parse()
	feedback, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = repair(*iteration, *from, *to, string(feedback))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "repair:", err)
		os.Exit(1)
	}
}

func repair(iteration int, from, to, feedback string) error {
	if iteration == 1 {
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			return err
		}
	}
	failing := failures(feedback)
	if len(failing) == 0 { // nobody has looked yet
		out, _ := exec.CommandContext(context.Background(), "go", "test", "-C", to, "./...").CombinedOutput()
		failing = failures(string(out))
	}
	for _, f := range fixes {
		if slices.Contains(failing, f.test) {
			return f.apply(to, len(failing))
		}
	}
	return fmt.Errorf("no idea what is wrong; failing tests: %s", strings.Join(failing, ", "))
}

var failure = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

func failures(output string) (tests []string) {
	for _, m := range failure.FindAllStringSubmatch(output, -1) {
		tests = append(tests, m[1])
	}
	return tests
}

func (f fix) apply(dir string, failing int) error {
	path := filepath.Join(dir, f.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	repaired := strings.Replace(string(text), f.wrong, f.right, 1)
	if repaired == string(text) {
		return fmt.Errorf("%s fails, and what I know of %s is repaired already", f.test, f.file)
	}
	fmt.Printf("failing tests: %d; repaired %s for %s: %s\n", failing, f.file, f.test, f.why)
	return os.WriteFile(path, []byte(repaired), 0o644)
}
