package box

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/box/apt"
	"github.com/dcib/dcib/internal/box/image"
	"github.com/dcib/dcib/internal/box/lxdbuild"
	"github.com/dcib/dcib/internal/box/place"
	"github.com/dcib/dcib/internal/steps"
)

// The LXD that the box's machines can have.
const (
	LXD6  = "6"   // built from the Go module that tests/testbed/lxd pins
	LXD50 = "5.0" // Debian's package
)

// LXDVersions are the accepted values of Options.LXD, without "".
var LXDVersions = []string{LXD6, LXD50}

// DefaultLXD is what the machines of a new box have.
const DefaultLXD = LXD6

// chooseLXD determines the LXD of the box's machines, before anything is changed.
func (b *builder) chooseLXD() (err error) {
	if b.Place.Snap != nil {
		if b.LXD != "" {
			return errors.New("cannot choose the LXD of the box's machines with --lxd: where LXD and Juju are snaps, it is the snap channel in option channel of lxd-cluster")
		}
		return nil
	}
	var r record
	if err := place.ReadJSON(b.Place.Record(), &r); err != nil {
		return err
	}
	b.lxd, err = machineLXD(b.Place.Name, r, b.LXD)
	return err
}

// machineLXD returns the LXD of a box's machines from what the box has (the zero record if
// there is no box) and what is wanted ("" for either). Machines that are there are not
// changed.
func machineLXD(name string, r record, wanted string) (string, error) {
	if wanted != "" && !slices.Contains(LXDVersions, wanted) {
		return "", fmt.Errorf("cannot use LXD %q for the box's machines: expected one of %s", wanted, strings.Join(LXDVersions, ", "))
	}
	if !r.Subnet.IsValid() {
		return cmp.Or(wanted, DefaultLXD), nil
	}
	has := cmp.Or(r.LXD, LXD50)
	if wanted != "" && wanted != has {
		return "", fmt.Errorf("cannot change the LXD of box %[1]s to %[2]s: its machines have %[3]s: run dcib box --name %[1]s down first, or leave --lxd out", name, wanted, has)
	}
	return has, nil
}

// lxdModule is the folder of the Go module that pins LXD's commands.
func (b *builder) lxdModule() string { return filepath.Join(b.Source, "tests", "testbed", "lxd") }

// image returns the image of the box's machines, and whether the LXD that goes into it is
// there.
func (b *builder) image() (image.Image, bool, error) {
	i := image.Image{Base: image.Noble}
	if b.lxd != LXD6 {
		return i, true, nil
	}
	built, there, err := lxdbuild.In(b.Place.Cache(), b.lxdModule())
	i.LXD = built.Dir
	return i, there, err
}

func (b *builder) hasMachineLXD(context.Context) (bool, string, error) {
	i, there, err := b.image()
	switch {
	case err != nil:
		return false, "", err
	case !there:
		return false, "not built yet", nil
	case i.LXD == "":
		return true, "Debian's, in the image", nil
	}
	return true, filepath.Base(i.LXD), nil
}

func (b *builder) buildMachineLXD(ctx context.Context, log *steps.Log) error {
	return b.withMachine(ctx, log, func() error {
		if _, there, err := b.image(); err != nil || there {
			return err
		}
		mirror, err := apt.Mirror(ctx)
		if err != nil {
			return err
		}
		return lxdbuild.Build(ctx, b.Place.Cache(), b.lxdModule(), mirror, log, log.Say)
	})
}
