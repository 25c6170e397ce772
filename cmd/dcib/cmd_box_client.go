package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/box/place"
)

// newBoxClientCmd is `dcib box juju` and `dcib box lxc`: the client, told where the box
// is. It takes the place of this process, so that terminal and exit code are its own.
func newBoxClientCmd(where placer, client string) *cobra.Command {
	return &cobra.Command{
		Use:                client + " [arguments]",
		Short:              "Run any " + client + " command against the box",
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 && args[0] == "--" {
				args = args[1:] // as after any command that runs another; the clients print their help
			}
			p, err := where()
			if err != nil {
				return err
			}
			if !p.Exists() {
				return fmt.Errorf("cannot run %s: there is no box %s in %s: run %s first", client, p.Name, p.Dir(), place.Up(p.Name))
			}
			path := filepath.Join(p.Bin(), client)
			if _, err := os.Stat(path); err != nil {
				if path, err = exec.LookPath(client); err != nil {
					return fmt.Errorf("cannot find %s: looked in %s and in PATH: run %s first", client, p.Bin(), place.Up(p.Name))
				}
			}
			for _, entry := range p.Env() {
				name, value, _ := strings.Cut(entry, "=")
				if err := os.Setenv(name, value); err != nil {
					return fmt.Errorf("cannot run %s: %w", client, err)
				}
			}
			if p.Snap != nil && client == "lxc" {
				args = append([]string{"--project", p.Project()}, args...)
			}
			if err := syscall.Exec(path, append([]string{client}, args...), os.Environ()); err != nil {
				return fmt.Errorf("cannot run %s: %w", path, err)
			}
			return nil
		},
	}
}
