package main

import "github.com/spf13/cobra"

// newBoxCmd is the parent of everything that has to do with the box: a real data centre
// on this one machine.
func newBoxCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "box",
		Short: "A real LXD and a real Juju on this machine, for development and tests",
	}
}
