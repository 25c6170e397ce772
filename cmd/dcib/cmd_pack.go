package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/box/apt"
	"github.com/dcib/dcib/internal/charmtool/pack"
)

// newPackCmd is dcib pack: charm folders to archives.
func newPackCmd() *cobra.Command {
	var (
		out     string
		opts    pack.Options
		prepare bool
	)
	cmd := &cobra.Command{
		Use:   "pack CHARM_DIR…",
		Short: "Build charm archives from charm folders",
		Long: `Build a charm archive, <name>.charm, from each charm folder.

charmcraft.yaml is split into the files that Juju reads, and the Go program beside it
becomes the dispatch. An archive whose contents did not change is left as it is.

A charm that links C names the Debian packages for that in its part's build-packages;
with --prepare those that are missing are installed, and nothing is built. The licences of
the libraries among them go into the archive as NOTICE.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, dirs []string) error {
			endByContext()
			missing, err := buildPackages(cmd.Context(), dirs)
			if err != nil {
				return err
			}
			if prepare {
				return install(cmd.Context(), missing, cmd.OutOrStdout())
			}
			if len(missing) > 0 {
				return fmt.Errorf("cannot build: packages are missing: run as root: apt-get install %s", strings.Join(missing, " "))
			}
			for _, dir := range dirs {
				p, err := pack.Pack(cmd.Context(), dir, out, opts)
				if err != nil {
					return err
				}
				state := "unchanged"
				if p.Changed {
					state = "written"
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%-9s %s  %.1f MiB  sha256:%.12s\n", state, p.Path, float64(p.Bytes)/(1<<20), p.SHA256)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "dist", "the folder for the archives")
	cmd.Flags().StringVar(&opts.Arch, "arch", "", "the architecture to build for, as Go spells it (default this machine's)")
	cmd.Flags().StringVar(&opts.Version, "version", "", "the charm's version, for Juju and for its programs' --version (default none)")
	cmd.Flags().BoolVar(&prepare, "prepare", false, "install what building needs, and build nothing")
	return cmd
}

// buildPackages lists what the charms' build-packages name and this machine lacks. A
// machine without dpkg is believed to have it.
func buildPackages(ctx context.Context, dirs []string) ([]string, error) {
	var packages []string
	for _, dir := range dirs {
		src, err := pack.ReadSource(dir)
		if err != nil {
			return nil, err
		}
		packages = append(packages, src.BuildPackages()...)
	}
	slices.Sort(packages)
	packages = slices.Compact(packages)
	if _, err := exec.LookPath("dpkg-query"); err != nil || len(packages) == 0 {
		return nil, nil
	}
	return apt.Missing(ctx, packages)
}

// install installs packages, as root.
func install(ctx context.Context, missing []string, out io.Writer) error {
	if len(missing) == 0 {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("cannot install what building needs: run as root: apt-get install %s", strings.Join(missing, " "))
	}
	fmt.Fprintln(out, "installing", strings.Join(missing, " "))
	return apt.Install(ctx, missing, func([]string) error { return nil }, io.Discard)
}
