package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/dcib/dcib/internal/charmtool/catalog"
	"github.com/dcib/dcib/internal/charmtool/pack"
)

// build builds the stand-ins' one program, which runs on any base.
func build(program string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "github.com/dcib/dcib/tests/catalog/standin")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build the stand-ins' program: %w: %s", err, out)
	}
	return nil
}

// write writes an archive for each charm of the catalogue, with the facts of the track that
// our bundles deploy. One that is there and has not changed is left alone. It returns their
// names.
func write(out, program string) ([]string, error) {
	names, err := catalog.Names()
	if err != nil {
		return nil, err
	}
	dispatch, err := os.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("cannot read the stand-ins' program: %w", err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, fmt.Errorf("cannot write stand-ins: %w", err)
	}
	for _, name := range names {
		c, _, _ := catalog.Find(name, "")
		data, err := archive(c, dispatch)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(out, name+".charm")
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
			continue
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return nil, fmt.Errorf("cannot write the stand-in for %s: %w", name, err)
		}
	}
	return names, nil
}

func archive(c catalog.Charm, dispatch []byte) ([]byte, error) {
	// What is behind a resource would be the real thing.
	c.Resources = nil
	docs, err := c.Files(runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	provides := map[string]string{}
	for name, e := range c.Provides {
		provides[name] = e.Interface
	}
	facts, err := json.Marshal(map[string]any{"required": c.Required, "provides": provides})
	if err != nil {
		return nil, fmt.Errorf("cannot write the facts of %s: %w", c.Name, err)
	}
	files := []pack.File{{Name: "dispatch", Mode: 0o755, Data: dispatch}, {Name: "standin.json", Mode: 0o644, Data: facts}}
	for name, text := range docs {
		files = append(files, pack.File{Name: name, Mode: 0o644, Data: text})
	}
	return pack.Zip(files)
}
