// Package controller brings up the Juju controller of a box, and the model in which the
// machines of the data centre stand.
package controller

import (
	"archive/zip"
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/box/commands"
	"github.com/dcib/dcib/internal/box/image"
	"github.com/dcib/dcib/internal/box/lxdhost"
	"github.com/dcib/dcib/internal/box/place"
	"github.com/dcib/dcib/internal/box/proc"
	"github.com/dcib/dcib/internal/host/atomicfile"
	"github.com/dcib/dcib/internal/steps"
)

const (
	// Name is the controller's name.
	Name = "dcib"
	// Model is the model of the machines that stand on the host's LXD.
	Model = "metal"
	// cloud is what Juju calls the box's LXD.
	cloud = "box"
)

// Config is what every model of the box has: machines come up as the image is.
var Config = []string{"enable-os-upgrade=false", "enable-os-refresh-update=false"}

// Controller is a box's Juju controller.
type Controller struct {
	Place    place.Place
	Commands commands.Built
	Base     image.Base
	Host     lxdhost.Host
}

// Juju runs the box's juju client and returns what it wrote to its standard output.
func Juju(ctx context.Context, p place.Place, log io.Writer, args ...string) (string, error) {
	return proc.Run(ctx, proc.Cmd{Args: append([]string{filepath.Join(p.Bin(), "juju")}, args...), Env: p.Env(), Log: log, Dir: p.Dir()})
}

// Up reports whether the controller answers. One that was bootstrapped to its end and does
// not answer is waited for: it is starting, with the machine or with LXD.
func (c Controller) Up(ctx context.Context) (bool, string, error) {
	if _, err := os.Stat(filepath.Join(c.Place.Juju(), "controllers.yaml")); err != nil {
		return false, "no controller", nil
	}
	ask := func(ctx context.Context) (bool, string, error) {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		names, err := Models(ctx, c.Place)
		if err != nil {
			return false, "the controller does not answer", nil
		}
		return true, fmt.Sprintf("%s, models %s", Name, strings.Join(names, ", ")), nil
	}
	if !c.finished() {
		return ask(ctx)
	}
	saw := ""
	err := steps.Wait(ctx, steps.Discard(), 3*time.Minute, 2*time.Second, func(ctx context.Context) (so bool, _ string, err error) {
		so, saw, err = ask(ctx)
		return so, saw, err
	})
	if errors.Is(err, steps.ErrTimeout) {
		return false, "", fmt.Errorf("cannot reach the controller, which was up before: %w: look at `./box juju show-controller` and `./box lxc list`; to start afresh: dcib box down", err)
	}
	return err == nil, saw, err
}

// Models returns the names of the controller's models, which come from its database: who
// gets an answer has talked to a controller that works.
func Models(ctx context.Context, p place.Place) ([]string, error) {
	out, err := Juju(ctx, p, nil, "models", "--controller", Name, "--format", "json")
	if err != nil {
		return nil, err
	}
	var models struct {
		Models []struct {
			ShortName string `json:"short-name"`
		} `json:"models"`
	}
	if err := json.Unmarshal([]byte(out), &models); err != nil {
		return nil, fmt.Errorf("cannot read juju's list of models: %w", err)
	}
	var names []string
	for _, m := range models.Models {
		names = append(names, m.ShortName)
	}
	return names, nil
}

// finishedFile states that bootstrap came to its end: what is there must not be thrown away.
func (c Controller) finishedFile() string { return filepath.Join(c.Place.Dir(), "bootstrapped") }

func (c Controller) finished() bool {
	_, err := os.Stat(c.finishedFile())
	return err == nil
}

// Bootstrap brings the controller up. What an unfinished bootstrap left is removed first.
func (c Controller) Bootstrap(ctx context.Context, log *steps.Log) error {
	left, err := lxdhost.Instances(ctx, c.Place)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		log.Say("remove what an unfinished bootstrap left")
		if err := lxdhost.Remove(ctx, c.Place, left, log.Printf); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(c.Place.Juju()); err != nil {
		return fmt.Errorf("cannot clear juju's client folder: %w", err)
	}
	if err := c.Place.Make(); err != nil {
		return err
	}
	credential, err := c.Host.Trust(ctx)
	if err != nil {
		return err
	}
	if err := WriteCloud(c.Place, cloud, credential); err != nil {
		return err
	}
	log.Say("juju bootstrap")
	args := []string{"bootstrap", cloud, Name, "--bootstrap-base", "ubuntu@" + c.Base.Version}
	if c.Place.Snap == nil {
		charm := filepath.Join(c.Place.Dir(), "controller.charm")
		if err := writeCharm(charm); err != nil {
			return err
		}
		args = append(args, "--metadata-source", c.Commands.Metadata(), "--controller-charm-path", charm)
	} else {
		args = append(args, "--config", "project="+c.Place.Project())
	}
	for _, kv := range Config {
		args = append(args, "--config", kv, "--model-default", kv)
	}
	if _, err := Juju(ctx, c.Place, log, args...); err != nil {
		return err
	}
	return atomicfile.Write(c.finishedFile(), nil, atomicfile.Options{Mode: 0o644})
}

// HasModel reports whether the model of the machines is there.
func (c Controller) HasModel(ctx context.Context) (bool, string, error) {
	names, err := Models(ctx, c.Place)
	if err != nil || !slices.Contains(names, Model) {
		return false, "no model " + Model, err
	}
	return true, "model " + Model, nil
}

// AddModel adds it, and makes it the one that juju commands are about.
func (c Controller) AddModel(ctx context.Context, log *steps.Log) error {
	args := []string{"add-model", "--controller", Name, Model, cloud}
	if c.Place.Snap != nil {
		args = append(args, "--config", "project="+c.Place.Project())
	}
	for _, kv := range Config {
		args = append(args, "--config", kv)
	}
	if _, err := Juju(ctx, c.Place, log, args...); err != nil {
		return err
	}
	_, err := Juju(ctx, c.Place, log, "switch", Name+":"+Model)
	return err
}

// charm is the smallest that bootstrap takes as the controller's: its real one is on
// Charmhub, which the box does without.
//
//go:embed all:charm
var charm embed.FS

func writeCharm(path string) error {
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	err := fs.WalkDir(charm, "charm", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := charm.ReadFile(name)
		if err != nil {
			return err
		}
		h := &zip.FileHeader{Name: strings.TrimPrefix(name, "charm/"), Method: zip.Deflate}
		h.SetMode(0o644)
		if h.Name == "dispatch" {
			h.SetMode(0o755)
		}
		w, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	if err = errors.Join(err, z.Close()); err != nil {
		return fmt.Errorf("cannot pack the controller charm: %w", err)
	}
	return atomicfile.Write(path, buf.Bytes(), atomicfile.Options{Mode: 0o644})
}
