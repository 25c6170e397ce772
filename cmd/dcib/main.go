// Command dcib builds and looks after a data centre in a box.
//
// Each verb lives in a file of its own (cmd_<verb>.go) that offers one constructor,
// newXxxCmd; this file only lists them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
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

// usageError is an error of whoever typed the command: it ends with exit code 2.
type usageError struct{ error }

// Unwrap implements errors.Unwrap.
func (e usageError) Unwrap() error { return e.error }

// usageArgs makes the errors of a check of arguments errors of usage.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	root := &cobra.Command{
		Use:   "dcib",
		Short: "A data centre in a box",
		// A flag may stand before the verb that is handed all arguments as they are.
		TraverseChildren: true,
		SilenceUsage:     true,
		SilenceErrors:    true,
	}
	root.AddCommand(verbs()...)
	if err := root.ExecuteContext(ctx); err != nil {
		if !errors.Is(err, errSilent) {
			fmt.Fprintf(os.Stderr, "dcib: %v\n", err)
		}
		code := 1
		if errors.As(err, &usageError{}) {
			code = 2
		}
		os.Exit(code) //nolint:gocritic // stop only unhooks the signals of a process that ends.
	}
}
