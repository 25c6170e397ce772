// Command dcib builds and looks after a data centre in a box.
//
// Each verb lives in a file of its own (cmd_<verb>.go) that offers one constructor,
// newXxxCmd; this file only lists them. The exit status is 0 on success, 1 if something was
// found or failed, 2 for a wrong usage, and 128 plus its number after a signal.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/version"
)

// verbs are the commands that dcib knows, in the order in which they are listed.
func verbs() []*cobra.Command {
	return []*cobra.Command{
		newBoxCmd(),
		newLintCmd(),
		newMaasCmd(),
		newPackCmd(),
		newPetsCmd(),
		newProfileCmd(),
	}
}

// errSilent ends a command with exit code 1 when everything was said already.
var errSilent = errors.New("failed")

// newRoot returns dcib with all its verbs.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:     "dcib",
		Short:   "A data centre in a box",
		Version: version.String(),
		// A flag may stand before the verb that is handed all arguments as they are.
		TraverseChildren: true,
		SilenceUsage:     true,
		SilenceErrors:    true,
	}
	root.AddCommand(verbs()...)
	strict(root)
	return root
}

func main() { os.Exit(run(os.Args[1:])) }

// run runs dcib with the arguments and returns the exit status.
func run(args []string) int {
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	out := &output{to: os.Stdout}
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(out)
	watchSignals(stop)

	err := root.ExecuteContext(ctx)
	if err == nil && out.err != nil {
		err = fmt.Errorf("cannot print: %w", out.err)
	}
	if err == nil {
		return 0
	}
	if !errors.Is(err, errSilent) {
		fmt.Fprintf(os.Stderr, "dcib: %v\n", err)
	}
	var ended signalError
	switch {
	case errors.As(context.Cause(ctx), &ended):
		return ended.status()
	case errors.As(err, &usageError{}):
		return 2
	}
	return 1
}

// output writes to a file and keeps the first error, since most writers of text drop it.
type output struct {
	to  io.Writer
	err error
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	n, err := o.to.Write(p)
	if o.err == nil {
		o.err = err
	}
	return n, err
}
