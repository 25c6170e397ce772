// Command catalog writes stand-ins for the charms of the catalogue, for where there is no
// Charmhub: catalog --out dist/standins.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	out := flag.String("out", "dist/standins", "the folder for the archives")
	flag.Parse()
	if err := run(*out); err != nil {
		log.Fatal(err)
	}
}

func run(out string) error {
	dir, err := os.MkdirTemp("", "standin")
	if err != nil {
		return fmt.Errorf("cannot build stand-ins: %w", err)
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "dispatch")
	if err := build(program); err != nil {
		return err
	}
	names, err := write(out, program)
	if err != nil {
		return err
	}
	fmt.Printf("%d stand-ins in %s\n", len(names), out)
	return nil
}
