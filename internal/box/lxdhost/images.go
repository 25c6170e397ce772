package lxdhost

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	lxd "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/box/image"
	"github.com/dcib/dcib/internal/steps"
)

// HasImage reports whether a server has the image, under the alias of its base.
func HasImage(c lxd.InstanceServer, want image.Image) (bool, string, error) {
	alias, _, err := c.GetImageAlias(want.Base.Alias())
	if missing(err) {
		return false, "no image " + want.Base.Alias(), nil
	}
	if err != nil {
		return false, "", err
	}
	if alias.Description != want.Key() {
		return false, "an older image", nil
	}
	return true, want.Base.Alias(), nil
}

// AddImage imports an image into a server and sets the alias of its base.
func AddImage(ctx context.Context, c lxd.InstanceServer, what image.Image, files image.Files, log *steps.Log) error {
	fingerprint, err := importImage(ctx, c, files)
	if err != nil {
		return fmt.Errorf("cannot import the machine image: %w", err)
	}
	if old, _, err := c.GetImageAlias(what.Base.Alias()); err == nil {
		log.Say("replace image %.12s", old.Target)
		if err := c.DeleteImageAlias(what.Base.Alias()); err != nil {
			return fmt.Errorf("cannot replace the machine image: %w", err)
		}
	}
	err = c.CreateImageAlias(api.ImageAliasesPost{ImageAliasesEntry: api.ImageAliasesEntry{
		Name: what.Base.Alias(), Type: "container", Target: fingerprint, Description: what.Key(),
	}})
	if err != nil {
		return fmt.Errorf("cannot name the machine image: %w", err)
	}
	return nil
}

func importImage(ctx context.Context, c lxd.InstanceServer, files image.Files) (fingerprint string, err error) {
	sum, err := sum256(files.Metadata, files.Rootfs)
	if err != nil {
		return "", err
	}
	if _, _, err := c.GetImage(sum); err == nil {
		return sum, nil // an earlier run was stopped between the image and its alias
	}
	meta, err := os.Open(files.Metadata)
	if err != nil {
		return "", err
	}
	defer meta.Close()
	rootfs, err := os.Open(files.Rootfs)
	if err != nil {
		return "", err
	}
	defer rootfs.Close()
	op, err := c.CreateImage(api.ImagesPost{Filename: "metadata.tar"}, &lxd.ImageCreateArgs{
		MetaFile: meta, MetaName: "metadata.tar", RootfsFile: rootfs, RootfsName: "rootfs.squashfs", Type: "container",
	})
	if err != nil {
		return "", err
	}
	if err := op.WaitContext(ctx); err != nil {
		return "", err
	}
	return sum, nil
}

// sum256 is LXD's fingerprint of an image of several files: the hash of all their bytes,
// metadata first.
func sum256(paths ...string) (string, error) {
	h := sha256.New()
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
