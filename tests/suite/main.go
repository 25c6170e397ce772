// Command suite runs go test and says in one last line how it went:
//
//	unit: 212 passed, 0 failed, 3 skipped
//
// Usage: suite [-v] NAME GO-TEST-ARGUMENT…
//
// Failures are shown with their whole output, what passed is not; -v shows everything as
// it happens. It exits non-zero when something failed, and when no test ran at all.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	verbose := flag.Bool("v", false, "show all output as it happens")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: suite [-v] NAME GO-TEST-ARGUMENT…")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() < 2 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok := run(ctx, os.Stdout, flag.Arg(0), flag.Args()[1:], *verbose)
	stop()
	if !ok {
		os.Exit(1)
	}
}

// run runs go test with the arguments and reports on w. It returns whether tests ran and
// all went well.
func run(ctx context.Context, w io.Writer, name string, args []string, verbose bool) bool {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	// Tests that own a box want to take it down; so they are asked, then given time.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	c := newCount(w, verbose)
	if err == nil {
		c.read(out)
		err = cmd.Wait()
	}
	return c.close(name, err)
}
