// A hook is too short for reading the machine's limits; it runs on few threads anyway.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Pet-scheduler is a charm: it drains members of a LXD cluster for their own work, and
// brings back afterwards what it moved.
package main

import (
	"github.com/dcib/dcib/charms/pet-scheduler/pets"
	"github.com/dcib/dcib/internal/charm"
)

func main() { charm.Main(pets.Charm(pets.Open)) }
