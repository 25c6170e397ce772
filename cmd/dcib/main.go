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
	}
}

// errSilent ends a command with exit code 1 when everything was said already.
var errSilent = errors.New("failed")

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
		os.Exit(1) //nolint:gocritic // stop only unhooks the signals of a process that ends.
	}
}
